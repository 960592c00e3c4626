"""Which games, and which of their two players, a policy is trained on.

A game that is excluded is sound, but not wanted: its *exclusion* is counted beside the reasons of
damaged files (`replays.refusals`). `check` needs the file's header only and runs before any
parsing; `select` also needs the frames.

A player's *character* is the one played for most frames: Zelda and Sheik change into each other, a
header knows only the first, and three frames as Zelda, for want of holding A, make no Zelda. Both
count frame by frame in statistics and weights; `--train-character zelda` and `sheik` divide their
games by what is mostly played.

A *perspective* is one player of a game seen as "own"; a selection is a bit mask of them, in port
order (1: the lower port, 2: the higher).

Which reason a file is counted under, if there are several: what keeps the file from being opened
and its header from being read comes first; then the first exclusion that the header shows, in the
order of `Exclusion`; then what keeps the frames from being read; then the first exclusion that the
frames show, in the same order; then that another file of the game is kept; last that `--max-files`
were found before. The collection so decides between sound files only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple

import numpy as np

from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.melee import enums
from exphil_tf.melee.enums import Character
from exphil_tf.melee.types import Game, GameInfo, PlayerInfo
from exphil_tf.replays import quality

_TRANSFORMS = {Character.ZELDA: Character.SHEIK, Character.SHEIK: Character.ZELDA}
_KNOWN_CHARACTERS = frozenset(int(character) for character in Character)
_LEGAL_STAGES = frozenset(int(stage) for stage in enums.Stage)
_ALL_STAGES = frozenset(range(64))
"""The ids that a record has room for; the game has none above."""


class Exclusion(StrEnum):
    """Why a sound replay is left out, in order of precedence.

    The values are stable: they are written to disk.
    """

    OLD_VERSION = "old_version"
    """Recorded by a version below `--min-version`."""
    PLAYERS = "players"
    """Not exactly two occupied ports."""
    TEAMS = "teams"
    CPU = "cpu"
    """A computer player; `--include-cpus` admits games with one human."""
    CHARACTER = "character"
    """A character outside the roster of 26, in the header or in any frame."""
    STAGE = "stage"
    """Not one of the six tournament stages; `--stages all` admits it."""
    OTHER_CHARACTERS = "other_characters"
    """Nobody plays one of `--characters` for most of the game."""
    OTHER_STAGE = "other_stage"
    """Not one of `--stages`."""
    PORT = "port"
    """Nobody sits at `--player-port`."""
    TRAIN_CHARACTER = "train_character"
    """Nobody plays `--train-character` for most of the game."""
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    QUALITY = "quality"
    """Scores below `--min-quality`."""
    DUPLICATE = "duplicate"
    """Another file of the same game is kept."""


@dataclass(frozen=True)
class FilterConfig:
    """Which games and players count."""

    KIND: ClassVar = Kind.GAMES

    characters: tuple[str, ...] = ()
    """Only games in which somebody plays one of these most of the time (mewtwo, fox, "ice
    climbers"…)."""
    stages: tuple[str, ...] = ()
    """Only games on these stages (fd, battlefield…); empty: the six tournament stages. `all`: every
    stage of the game; what moves there is unknown, and of those that are not symmetric --augment
    makes mirror images that the game does not have."""
    train_character: str | None = None
    """Learn from the players who play this character most of the time; both of them in a ditto.
    Zelda and Sheik are two: whoever is mostly Sheik is none of zelda's."""
    player_port: int | None = None
    """Learn from the player at this controller port only, 1 to 4."""
    dual_port: bool = option(True, only_without=("train_character", "player_port"))
    """Learn from both players; otherwise from the lower port."""
    include_cpus: bool = False
    """Admit games against computer players. Only the humans in them are learned from: a computer's
    sticks lie on another grid."""
    min_frames: int = 600
    """Shortest game, in frames of 1/60 s from the first one on."""
    max_frames: int | None = None
    """Longest game, in frames; none: no limit."""
    min_version: str = "0.2"
    """Oldest replay version, such as 3.0 or 3.8.0; what older ones did not record is marked so."""
    min_quality: int | None = None
    """Lowest quality score (0 to 100) of a game; none: any."""
    skip_duplicates: bool = True
    """Keep one file of each game."""

    def __post_init__(self) -> None:
        """Refuses names, ports and limits that no game can have."""
        for name in (*self.characters, *filter(None, [self.train_character])):
            enums.character_from_name(name)
        for name in () if self.takes_all_stages else self.stages:
            enums.stage_from_name(name)
        if self.player_port not in (None, 1, 2, 3, 4):
            raise ValueError(f"player_port: want 1 to 4. Received: {self.player_port}")
        if self.min_frames < 1 or (self.max_frames or self.min_frames) < self.min_frames:
            raise ValueError(
                "want 1 ≤ min_frames ≤ max_frames. "
                f"Received: min_frames={self.min_frames}, max_frames={self.max_frames}"
            )
        _ = self.oldest
        if self.min_quality is not None and not 0 <= self.min_quality <= 100:
            raise ValueError(f"min_quality: want 0 to 100. Received: {self.min_quality}")

    @property
    def takes_all_stages(self) -> bool:
        """Whether stages that no tournament plays on are wanted too."""
        return [name.lower() for name in self.stages] == ["all"]

    @property
    def oldest(self) -> tuple[int, ...]:
        """`min_version` as numbers.

        Raises:
          ValueError: if it is none.
        """
        parts = self.min_version.split(".")
        if not (1 <= len(parts) <= 3 and all(part.isascii() and part.isdigit() for part in parts)):
            raise ValueError(f"min_version: want such as 3.0. Received: {self.min_version!r}")
        return tuple(map(int, parts))


class Selection(NamedTuple):
    """What of a game to train on.

    Attributes:
      perspectives: bit mask; 0 if the game is excluded.
      exclusion: why it is, else None.
      detail: of the exclusion, for a person.
    """

    perspectives: int
    exclusion: Exclusion | None = None
    detail: str = ""


def check(info: GameInfo, config: FilterConfig) -> Exclusion | None:
    """Why a game is excluded, as far as its header tells; None if its frames must decide.

    What the file's metadata claims of the frames (their number) is no reason: the frames are there.
    """
    known = _ALL_STAGES if config.takes_all_stages else _LEGAL_STAGES
    is_named = config.stages and not config.takes_all_stages
    stages = {int(enums.stage_from_name(s)) for s in config.stages} if is_named else known
    tests = (
        (info.version >= config.oldest, Exclusion.OLD_VERSION),
        (len(info.players) == 2, Exclusion.PLAYERS),
        (not info.is_teams, Exclusion.TEAMS),
        (config.include_cpus or not any(p.is_cpu for p in info.players), Exclusion.CPU),
        (all(p.character in _KNOWN_CHARACTERS for p in info.players), Exclusion.CHARACTER),
        (info.stage in known, Exclusion.STAGE),
        (info.stage in stages, Exclusion.OTHER_STAGE),
    )
    for passes, exclusion in tests:
        if not passes:
            return exclusion
    return _select(info, [_possible(player) for player in info.players], config).exclusion


def select(game: Game, config: FilterConfig) -> Selection:
    """The perspectives of a parsed game to train on, or why there are none."""
    excluded = check(game.info, config)
    if excluded is not None:
        return Selection(0, excluded)
    columns = [game.frames["p.character"][:, player] for player in (0, 1)]
    if not all(_KNOWN_CHARACTERS.issuperset(characters_of(column)) for column in columns):
        return Selection(0, Exclusion.CHARACTER)
    played = [main_character(column) for column in columns]
    selection = _select(game.info, [{character} for character in played], config)
    if selection.exclusion is not None:
        return selection
    if len(game.frames) < config.min_frames:
        return Selection(0, Exclusion.TOO_SHORT)
    if config.max_frames is not None and len(game.frames) > config.max_frames:
        return Selection(0, Exclusion.TOO_LONG)
    poor = _judge_quality(game, config)
    return Selection(0, Exclusion.QUALITY, poor) if poor else selection


def _judge_quality(game: Game, config: FilterConfig) -> str:
    """Why a game's quality is too low; empty if it is not."""
    if config.min_quality is None:
        return ""
    found = quality.assess(game)
    if found.score >= config.min_quality:
        return ""
    return found.failure or f"score {found.score:.0f}, want at least {config.min_quality}"


def characters_of(column: np.ndarray) -> set[int]:
    """Every character that a player was during a game; two for Zelda and Sheik."""
    return {int(character) for character in np.unique(column)}


def main_character(column: np.ndarray) -> int:
    """The character that a player was for most frames, the smaller id if there are two; 0 of none.

    Args:
      column: uint8 `[frames]`, internal ids.
    """
    return int(np.bincount(column).argmax()) if len(column) else 0


def _possible(player: PlayerInfo) -> set[int]:
    """Characters that a player may turn out to be, going by the header."""
    first = Character(player.character)
    return {int(first), int(_TRANSFORMS.get(first, first))}


def _select(info: GameInfo, played: list[set[int]], config: FilterConfig) -> Selection:
    if config.characters:
        wanted = {int(enums.character_from_name(name)) for name in config.characters}
        if not wanted & (played[0] | played[1]):
            return Selection(0, Exclusion.OTHER_CHARACTERS)
    mask = sum(1 << i for i, player in enumerate(info.players) if not player.is_cpu)
    if not mask:
        return Selection(0, Exclusion.CPU)
    if config.player_port is not None:
        ports = [player.port for player in info.players]
        mask &= sum(1 << i for i, port in enumerate(ports) if port == config.player_port)
        if not mask:
            return Selection(0, Exclusion.PORT)
    if config.train_character is not None:
        own = int(enums.character_from_name(config.train_character))
        mask &= sum(1 << i for i, characters in enumerate(played) if own in characters)
        if not mask:
            return Selection(0, Exclusion.TRAIN_CHARACTER)
    elif config.player_port is None and not config.dual_port:
        mask &= -mask  # the lowest bit: the lower port
    return Selection(mask)

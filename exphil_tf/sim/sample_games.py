"""Whole games of scripted players in the simulator, as if they had been recorded."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.kinds import Kind
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import FIRST_FRAME, Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays.writer import write_slp
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.observe import columns_of
from exphil_tf.sim.world import STOCKS

FPS = 60
_CHARACTERS = (
    Character.FOX, Character.FALCO, Character.MARTH, Character.MEWTWO, Character.CPTFALCON,
    Character.SHEIK,
)  # fmt: skip
_STYLES = ("aggressor", "spacer", "punisher", "jumper")
"""Scripts; who plays which follows from the name."""
_NAMES = ("Ash", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel")
_START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_WON, _NO_CONTEST = 2, 7


@dataclass(frozen=True)
class SampleConfig:
    """Which sample games are made."""

    KIND: ClassVar = Kind.RESULT

    games: int = 12
    """Number of games."""
    seed: int = field(default=0)
    """The same seed gives the same files, byte for byte."""
    min_seconds: int = 20
    """Shortest game, unless somebody runs out of stocks before."""
    max_seconds: int = 60
    """Longest game."""

    def __post_init__(self) -> None:
        """Refuses counts and lengths that make no game."""
        if self.games < 1 or not 1 <= self.min_seconds <= self.max_seconds <= 480:
            raise ValueError(
                "want games ≥ 1 and 1 ≤ min_seconds ≤ max_seconds ≤ 480. Received: "
                f"games={self.games}, {self.min_seconds}, {self.max_seconds}"
            )
        if self.seed < 0:
            raise ValueError(f"seed: want at least 0. Received: {self.seed}")


def write_games(folder: Path, config: SampleConfig) -> int:
    """Writes the games as `.slp` files, in a folder that is made if missing; returns the frames."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for index, game in enumerate(make_games(config)):
        write_file(folder / f"sample-{config.seed}-{index:04d}.slp", [write_slp(game)])
        total += len(game.frames)
    return total


def make_games(config: SampleConfig) -> list[Game]:
    """The games, played all at once; deterministic for a seed."""
    rng = np.random.Generator(np.random.PCG64(config.seed))
    shape = (config.games, 2)
    characters = rng.choice([int(character) for character in _CHARACTERS], shape)
    people = np.stack([rng.permutation(len(_NAMES))[:2] for _ in range(config.games)])
    # Stages in turn, so that a few games already differ in them.
    first = int(rng.integers(len(Stage)))
    stages = [list(Stage)[(first + game) % len(Stage)] for game in range(config.games)]
    seconds = rng.integers(config.min_seconds, config.max_seconds + 1, config.games)
    styles = [(_STYLES[a % len(_STYLES)], _STYLES[b % len(_STYLES)]) for a, b in people]
    environment = Environment(characters, stages, scripts=styles, first_frame=FIRST_FRAME)
    environment.reset(seeds=rng.integers(0, 1 << 62, config.games).astype(np.uint64))
    frames = play_out(environment, int(seconds.max()) * FPS - FIRST_FRAME)
    games = []
    for index, stage in enumerate(stages):
        columns = {name: column[:, index] for name, column in frames.items()}
        length = _length(columns["p.stock"], int(seconds[index]) * FPS - FIRST_FRAME)
        info = _describe(
            config, index, stage=stage, people=people[index], characters=characters[index]
        )
        games.append(_finish(info, {name: column[:length] for name, column in columns.items()}))
    return games


def play_out(environment: Environment, num_frames: int) -> dict[str, np.ndarray]:
    """Columns `[frames, matches, …]` of matches between scripts, their first frame included."""
    pads, seen = environment.pads.copy(), [environment.values.copy()]
    for _ in range(num_frames - 1):
        environment.step_pads(pads)
        seen.append(environment.values.copy())
    return columns_of(np.stack(seen))


def _length(stock: np.ndarray, limit: int) -> int:
    """Frames of a game: up to the last stock, else the limit."""
    over = np.flatnonzero((stock == 0).any(1))
    return min(limit, int(over[0]) + 1) if len(over) else limit


def _describe(
    config: SampleConfig, index: int, *, stage: Stage, people: np.ndarray, characters: np.ndarray
) -> GameInfo:
    start = _START + datetime.timedelta(minutes=2 * index)
    players = tuple(
        PlayerInfo(
            port=port + 1,
            character=int(characters[port]),
            name=_NAMES[person],
            code=f"{_NAMES[person][:4].upper()}#{100 + int(person)}",
            stocks=STOCKS,
        )
        for port, person in enumerate(people)
    )
    return GameInfo(
        stage=int(stage),
        players=players,
        match_id=f"mode.unranked-sample-{config.seed}-{index:06d}",
        game_index=1,
        seed=(config.seed * 1_000_003 + index) % 2**32,
        start_at=start.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _finish(info: GameInfo, columns: dict[str, np.ndarray]) -> Game:
    """The game of some columns `[time, …]`, and how it ended."""
    stocks = columns["p.stock"][-1]
    is_won = not stocks.all()
    quitter = None if is_won else info.players[int(stocks[0] > stocks[1])].port
    ending = {"end_method": _WON if is_won else _NO_CONTEST, "lras": quitter}
    return Game(GameInfo(**(vars(info) | ending)), Frames(columns))

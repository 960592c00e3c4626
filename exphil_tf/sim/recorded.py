"""Recorded games as the simulator's tools read them: mechanics beside the schema, split by player.

Constants are estimated on some players' games and judged on others': a player is held out by a hash
of who they are, so that the split needs no list and stays when a collection grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import Stage
from exphil_tf.melee.types import GO_FRAME, Game
from exphil_tf.replays.physics_columns import PhysicsColumns, read_physics
from exphil_tf.replays.players import identity, pseudonym
from exphil_tf.replays.refusals import ReplayError

_UCF_084, _TELLS_STAGE = (3, 17, 0), (3, 18, 0)
HELD_OUT_SHARE = 5
"""One player in so many is held out."""


@dataclass(frozen=True)
class Recorded:
    """One game from the frame on which players may act.

    Attributes:
      stage: external id.
      columns: short name → `[frames, players]`: the schema's columns of players and controllers,
        and those of `PhysicsColumns`; the schema's of items by their whole names,
        `[frames, items]`; `frame`, `left` and `right` (Fountain of Dreams' platforms), `whispy`
        and `stadium` `[frames]`.
      held_out: of the two players.
      moving: whether the stage may have another form than at the start on some frames.
      tells_stage: whether moving parts of the stage are recorded (3.18 and later).
      cardinals: whether the game took a stick near an axis for one along it (UCF 0.84, which
        netplay has had since replays of version 3.17).
    """

    stage: int
    columns: dict[str, np.ndarray]
    held_out: tuple[bool, bool]
    moving: bool = False
    cardinals: bool = False
    tells_stage: bool = False

    def __getitem__(self, name: str) -> np.ndarray:
        """A column."""
        return self.columns[name]

    def __len__(self) -> int:
        """Frames."""
        return len(self.columns["frame"])


def is_held_out(player: str) -> bool:
    """Whether a player's games judge; those who left no name always do."""
    return not player or hashlib.md5(player.encode()).digest()[0] % HELD_OUT_SHARE == 0


def read_recorded(replays: Sequence[str], most: int = 0) -> Iterator[Recorded]:
    """The games of some folders or files that can be compared with, in a fixed order.

    Args:
      replays: folders or `.slp` files.
      most: games; 0 is all.

    Raises: UserError: if there is none.
    """
    count = 0
    for path in _files(replays):
        if most and count >= most:
            return
        try:
            game, physics = read_physics(path)
        except ReplayError:
            continue
        if game.info.stage in set(Stage) and not game.info.is_pal:
            count += 1
            yield from_game(game, physics)
    if not count:
        raise UserError(
            f"replays: want games of version 3.8 or later on the six stages. Received: {replays}"
        )


def _files(replays: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for given in map(Path, replays):
        found += sorted(given.rglob("*.slp")) if given.is_dir() else [given]
    return found


def from_game(game: Game, physics: PhysicsColumns) -> Recorded:
    """A parsed game's columns."""
    frames = game.frames
    start = int(np.searchsorted(frames["frame"], GO_FRAME))
    columns = {name[2:]: frames[name] for name in frames if name[:2] in ("p.", "c.")}
    columns |= {name: frames[name] for name in frames if name.startswith("i.")}
    columns |= physics._asdict()
    columns |= {"frame": frames["frame"], "left": frames["s.fod_left"]}
    columns |= {"right": frames["s.fod_right"], "stadium": frames["s.stadium"]}
    columns |= {"whispy": frames["s.whispy"]}
    players = tuple(is_held_out(pseudonym(identity(player))) for player in game.info.players)
    return Recorded(
        stage=game.info.stage,
        columns={name: column[start:] for name, column in columns.items()},
        held_out=(players[0], players[1]),
        moving=game.info.stage == Stage.POKEMON_STADIUM and not game.info.is_frozen_ps,
        cardinals=game.info.version >= _UCF_084,
        tells_stage=game.info.version >= _TELLS_STAGE,
    )

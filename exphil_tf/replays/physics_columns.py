"""What a replay records of the game's mechanics beyond the schema: timers, flags, the ground.

A policy does not see them; whoever compares a simulator with a game needs them to start where the
game stood. Values are as recorded: `state_age` and `hitlag` are not cut to whole frames, and
`flags` are Slippi's five bytes of state bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from exphil_tf.melee.types import Game
from exphil_tf.replays import peppi
from exphil_tf.replays.parse import read_replay
from exphil_tf.replays.refusals import Reason, ReplayError

MIN_VERSION = (3, 8, 0)
"""Older replays lack speeds, hitlag or flags."""


class PhysicsColumns(NamedTuple):
    """Columns `[frames, players]`, besides `flags`.

    Attributes:
      state_age: float32, frames of the action's animation.
      hitlag: float32, frames left.
      misc: float32, the register that holds hitstun in damage actions.
      flags: uint8 `[frames, players, 5]`.
      ground: uint16, id of the surface stood on last.
      l_cancel: uint8, 1 succeeded, 2 failed, on the frame of the landing; else 0.
      last_attack: uint8, id of the last attack that hit.
      last_hit_by: uint8, port of who hit last.
      combo: uint8.
      raw_x: int8, the stick before the game's dead zone, of the input that led to the frame.
      raw_y: int8; 0 before 3.15.
    """

    state_age: np.ndarray
    hitlag: np.ndarray
    misc: np.ndarray
    flags: np.ndarray
    ground: np.ndarray
    l_cancel: np.ndarray
    last_attack: np.ndarray
    last_hit_by: np.ndarray
    combo: np.ndarray
    raw_x: np.ndarray
    raw_y: np.ndarray


def read_physics(path: Path) -> tuple[Game, PhysicsColumns]:
    """A game with its columns of mechanics, row by row the same frames.

    Raises:
      ReplayError: as `parse`; old_version for a replay that lacks some of them.
    """
    game = read_replay(path).game
    if game.info.version < MIN_VERSION or game.info.end_method is None:
        version = ".".join(map(str, game.info.version))
        raise ReplayError(Reason.OLD_VERSION, f"version {version}, want a whole game of 3.8")
    ports = [player.port for player in game.info.players]
    seats = peppi.read_raw(str(path), ports, _PATHS)
    stacked = {name: np.stack([seat[name] for seat in seats], 1) for name in _SINGLE}
    flags = np.stack([np.stack([seat[f"flags{i}"] for i in range(5)], 1) for seat in seats], 1)
    return game, PhysicsColumns(flags=flags, **stacked)


_PATHS = {
    "state_age": ("post", "state_age"),
    "hitlag": ("post", "hitlag"),
    "misc": ("post", "misc_as"),
    "ground": ("post", "ground"),
    "l_cancel": ("post", "l_cancel"),
    "last_attack": ("post", "last_attack_landed"),
    "last_hit_by": ("post", "last_hit_by"),
    "combo": ("post", "combo_count"),
    "raw_x": ("pre", "raw_analog_x"),
    "raw_y": ("pre", "raw_analog_y"),
    **{f"flags{i}": ("post", "state_flags", str(i)) for i in range(5)},
}
_SINGLE = tuple(name for name in _PATHS if not name.startswith("flags"))

"""What the toy world knows of characters, actions and attacks: numbers, no behaviour.

Tables over actions are arrays of 512, indexed by the action ids of a whole frame at once.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from exphil_tf.melee.enums import Character


class Action:
    """The action states that the toy knows, by libmelee's names and numbers.

    Plain integers: looking a member of an Enum up costs as much as a small numpy call.
    """

    DEAD_DOWN = 0
    DEAD_LEFT = 1
    DEAD_RIGHT = 2
    DEAD_UP = 3
    ON_HALO_DESCENT = 12
    ON_HALO_WAIT = 13
    STANDING = 14
    WALK_SLOW = 15
    WALK_MIDDLE = 16
    WALK_FAST = 17
    TURNING = 18
    DASHING = 20
    RUNNING = 21
    RUN_BRAKE = 23
    KNEE_BEND = 24
    JUMPING_FORWARD = 25
    JUMPING_BACKWARD = 26
    JUMPING_ARIAL_FORWARD = 27
    FALLING = 29
    DEAD_FALL = 35
    TUMBLING = 38
    CROUCHING = 40
    LANDING = 42
    LANDING_SPECIAL = 43
    DAMAGE_NEUTRAL_2 = 79
    DAMAGE_AIR_2 = 85
    DAMAGE_FLY_NEUTRAL = 88
    SHIELD_START = 178
    SHIELD = 179
    SHIELD_RELEASE = 180
    SHIELD_STUN = 181
    SHIELD_BREAK_TEETER = 211
    ENTRY = 322
    ENTRY_END = 324
    UP_B = 367


class Stats(NamedTuple):
    """A character in game units and frames, close to the real values."""

    weight: float
    gravity: float
    fall: float
    fast_fall: float
    jump: float
    short_hop: float
    air_jump: float
    dash: float
    run: float
    walk: float
    air_accel: float
    air_max: float
    traction: float
    jumpsquat: float
    reach: float
    """Length of its attacks, as a multiple of the table's."""


_STATS_TABLE = """
FOX       75 .230 2.8 3.4 3.7 2.1 4.4 1.9 2.2 1.60 .08 0.83 .08 3 0.9
FALCO     80 .170 3.1 3.5 4.1 1.9 3.8 1.9 1.5 1.40 .07 0.83 .08 5 1.0
MARTH     87 .085 2.2 2.5 2.4 1.5 2.1 1.5 1.8 1.60 .05 0.90 .06 4 1.4
MEWTWO    85 .080 1.5 2.3 2.0 1.4 2.0 1.4 1.4 1.15 .06 1.20 .04 5 1.2
CPTFALCON 104 .13 2.9 3.5 3.1 1.9 2.8 2.0 2.3 0.85 .06 1.12 .08 4 1.1
SHEIK     90 .120 2.1 3.0 2.8 2.1 2.8 1.7 1.8 1.20 .07 0.80 .08 3 1.0
"""
STATS: dict[Character, Stats] = {
    Character[name]: Stats(*map(float, values))
    for name, *values in map(str.split, _STATS_TABLE.strip().splitlines())
}


class Move(NamedTuple):
    """An attack: active from `first` to `last` frame, a box relative to the attacker, its force."""

    action: int
    first: int
    last: int
    total: int
    back: float
    front: float
    low: float
    high: float
    damage: float
    base: float
    growth: float
    angle: float


MOVES: dict[str, Move] = {
    "jab": Move(44, 3, 5, 16, -2, 12, -2, 14, 4, 10, 60, 70),
    "dash_attack": Move(50, 5, 13, 35, -2, 14, -2, 14, 8, 40, 80, 60),
    "ftilt": Move(53, 6, 9, 28, 0, 16, -2, 14, 9, 15, 90, 40),
    "utilt": Move(56, 5, 11, 26, -8, 11, 0, 28, 9, 30, 110, 88),
    "dtilt": Move(57, 6, 9, 24, 0, 17, -3, 8, 9, 25, 100, 75),
    "fsmash": Move(60, 12, 16, 42, 0, 20, -2, 16, 16, 30, 100, 38),
    "usmash": Move(63, 8, 14, 42, -8, 12, 0, 32, 15, 30, 100, 85),
    "down_b": Move(360, 1, 4, 22, -9, 9, -4, 10, 5, 40, 60, 35),
    "dsmash": Move(64, 6, 12, 45, -16, 16, -2, 10, 13, 30, 90, 28),
    "nair": Move(65, 4, 20, 40, -11, 11, -8, 14, 10, 20, 90, 45),
    "fair": Move(66, 6, 18, 38, 0, 15, -8, 12, 9, 20, 95, 42),
    "bair": Move(67, 5, 15, 36, -16, 0, -6, 12, 12, 20, 100, 40),
    "uair": Move(68, 6, 12, 34, -9, 9, 2, 30, 11, 20, 100, 80),
    "dair": Move(69, 7, 20, 40, -7, 7, -18, 4, 9, 20, 80, 75),
}
_MOVES = tuple(MOVES.values())
AERIALS = (65, 69)
"""First and last aerial."""
_NUM_ACTIONS = 512


def _move_table(field: str) -> np.ndarray:
    table = np.zeros(_NUM_ACTIONS)
    for move in _MOVES:
        table[move.action] = getattr(move, field)
    return table


MOVE_TABLE = {name: _move_table(name) for name in Move._fields}
IS_ATTACK = MOVE_TABLE["total"] > 0
"""bool `[512]`: the action is one of the toy's attacks."""


@functools.cache
def set_of(*actions: int) -> np.ndarray:
    """Bool `[512]`: membership in a set of actions."""
    table = np.zeros(_NUM_ACTIONS, bool)
    table[list(actions)] = True
    return table


GROUND_FREE = set_of(14, 15, 16, 17, 18, 20, 21, 23, 40)
"""bool `[512]`: on the ground and free to act."""
AIR_FREE = set_of(25, 26, 27, 29, 38)
"""bool `[512]`: in the air and free to act."""
LANDS = AIR_FREE | set_of(35, 65, 66, 67, 68, 69, 79, 85, 88, 367)
"""bool `[512]`: ends on touching the ground."""
DAMAGE = set_of(79, 85, 88)
"""bool `[512]`: hit."""
DURATION = np.where(IS_ATTACK, MOVE_TABLE["total"], 1e9)
"""Frames after which an action ends by itself."""
for _action, _frames in ((42, 4), (43, 20), (180, 15), (211, 150), (18, 8), (23, 12)):
    DURATION[_action] = _frames
DURATION[70:75] = 15
DEAD = set_of(0, 1, 2, 3)
HALO = set_of(12, 13)
SHIELDING = set_of(178, 179, 181)
"""bool `[512]`: behind a shield."""
FIXED = DEAD | HALO | set_of(322, 324)
"""bool `[512]`: out of play: dead, on the respawn platform, entering."""

"""Action ids that the rules name, as plain integers (compiled code knows no enums), and classes.

Names are those of libmelee's `Action`, shortened where players have a shorter word.
"""

from __future__ import annotations

import numpy as np

DEAD_DOWN, DEAD_LEFT, DEAD_RIGHT, DEAD_UP, DEAD_STAR = 0, 1, 2, 3, 4
DEAD_TOWARDS, DEAD_AHEAD = 6, 7  # towards the camera, and at it
REBIRTH, REBIRTH_WAIT = 12, 13
WAIT, WALK_SLOW, WALK_MIDDLE, WALK_FAST = 14, 15, 16, 17
TURN, TURN_RUN, DASH, RUN, RUN_DIRECT, RUN_BRAKE = 18, 19, 20, 21, 22, 23
JUMPSQUAT, JUMP_F, JUMP_B, AIR_JUMP_F, AIR_JUMP_B = 24, 25, 26, 27, 28
FALL, FALL_F, FALL_B, FALL_AERIAL, FALL_AERIAL_F, FALL_AERIAL_B = 29, 30, 31, 32, 33, 34
SPECIAL_FALL, SPECIAL_FALL_F, SPECIAL_FALL_B, TUMBLE = 35, 36, 37, 38
SQUAT, SQUAT_WAIT, SQUAT_RISE, LANDING, LANDING_SPECIAL = 39, 40, 41, 42, 43
JAB_1, JAB_2, JAB_3, DASH_ATTACK = 44, 45, 46, 50
FTILT_HIGH, FTILT, FTILT_LOW, UTILT, DTILT = 51, 53, 55, 56, 57
FSMASH_HIGH, FSMASH, FSMASH_LOW, USMASH, DSMASH = 58, 60, 62, 63, 64
NAIR, FAIR, BAIR, UAIR, DAIR = 65, 66, 67, 68, 69
NAIR_LANDING, DAIR_LANDING = 70, 74
DAMAGE_FIRST, DAMAGE_AIR_1, DAMAGE_AIR_3, DAMAGE_FLY_HIGH, DAMAGE_LAST = 75, 84, 86, 87, 91
DAMAGE_FLY_TOP = 90
DAMAGE_FLY_ROLL = 91
GUARD_ON, GUARD, GUARD_OFF, GUARD_STUN, GUARD_REFLECT = 178, 179, 180, 181, 182
DOWN_BOUND_UP, DOWN_WAIT_UP, DOWN_HURT_UP, DOWN_STAND_UP, DOWN_ATTACK_UP = 183, 184, 185, 186, 187
DOWN_BOUND_DOWN, DOWN_WAIT_DOWN, DOWN_HURT_DOWN = 191, 192, 193
DOWN_STAND_DOWN, DOWN_ATTACK_DOWN = 194, 195
DOWN_ROLL_F_UP, DOWN_ROLL_B_UP, DOWN_ROLL_F_DOWN, DOWN_ROLL_B_DOWN = 188, 189, 196, 197
TECH, TECH_F, TECH_B, WALL_TECH, WALL_TECH_JUMP = 199, 200, 201, 202, 203
SHIELD_BREAK_FLY, SHIELD_BREAK_FALL, SHIELD_BREAK_DOWN, SHIELD_BREAK_STAND = 205, 206, 207, 209
DIZZY = 211
GRAB, GRAB_PULL, DASH_GRAB, DASH_GRAB_PULL, GRAB_WAIT = 212, 213, 214, 215, 216
PUMMEL, GRAB_BREAK = 217, 218
THROW_F, THROW_B, THROW_UP, THROW_LOW = 219, 220, 221, 222
HELD_FIRST, HELD_LAST = 223, 228
HELD_PULL_HIGH, HELD_WAIT_HIGH, HELD_HURT_HIGH = 223, 224, 225
HELD_PULL_LOW, HELD_WAIT_LOW, HELD_HURT_LOW = 226, 227, 228
HELD_FREE, HELD_FREE_JUMP = 229, 230
THROWN_F, THROWN_LOW = 239, 242
CAPTURED_FIRST, CAPTURED_LAST, THROWN_FIRST = 223, 232, 239
ROLL_F, ROLL_B, SPOT_DODGE, AIR_DODGE = 233, 234, 235, 236
REBOUND_STOP, REBOUND = 237, 238
THROWN_LAST = 243
PLATFORM_DROP, TEETER, TEETER_WAIT, WALL_HIT = 244, 245, 246, 247
SLIDE_OFF = 251
LEDGE_CATCH, LEDGE_WAIT, LEDGE_GETUP_SLOW, LEDGE_GETUP = 252, 253, 254, 255
LEDGE_ATTACK_SLOW, LEDGE_ATTACK, LEDGE_ROLL_SLOW, LEDGE_ROLL = 256, 257, 258, 259
LEDGE_JUMP_SLOW, LEDGE_JUMP_SLOW_2, LEDGE_JUMP, LEDGE_JUMP_2 = 260, 261, 262, 263
TAUNT_R, TAUNT_L = 264, 265
ENTRY, ENTRY_START, ENTRY_END = 322, 323, 324
SPECIAL_FIRST = 341
"""Ids from here on are each character's own."""

ACTIONS = 400
"""Rows of tables by action; those beyond are Kirby's copies."""

CLASSES: dict[str, tuple[tuple[int, int], ...]] = {
    "stand, walk": ((14, 17),),
    "turn": ((18, 19),),
    "dash": ((20, 20),),
    "run": ((21, 23),),
    "crouch": ((39, 41),),
    "jumpsquat": ((24, 24),),
    "jump": ((25, 28),),
    "fall": ((29, 34), (244, 244)),
    "special fall": ((35, 37),),
    "air dodge": ((236, 236),),
    "landing": ((42, 43),),
    "aerial landing": ((70, 74),),
    "aerial": ((65, 69),),
    "ground attack": ((44, 64),),
    "special": ((341, 543),),
    "grab, throw": ((212, 222),),
    "shield": ((178, 182),),
    "roll, spot dodge": ((233, 235),),
    "ledge": ((252, 263),),
    "edge, slide off": ((245, 246), (251, 251)),
    "hurt": ((75, 91),),
    "tumble": ((38, 38),),
    "down, tech": ((183, 204),),
    "grabbed, thrown": ((223, 232), (239, 243), (266, 304)),
    "dead, reborn": ((0, 13), (322, 324)),
}
"""Classes of the fidelity table, by first and last action of their ranges."""
OTHER = "other"


def class_table() -> np.ndarray:
    """int16 `[544]`: index into the names of `CLASSES`, the last one past them for `OTHER`."""
    table = np.full(544, len(CLASSES), np.int16)
    for index, ranges in enumerate(CLASSES.values()):
        for first, last in ranges:
            table[first : last + 1] = index
    return table

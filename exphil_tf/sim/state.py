"""A match as one flat record: what the rules read and write, and nothing else.

Numbers of the game's own (positions, speeds, percent) are float32, as in the game; counters are
small integers. A batch is an array of `MATCH`; records hold no pointers, so a copy is a snapshot.
Arrays per field were dropped: rules would be masks instead of branches.
"""

from __future__ import annotations

import numpy as np

PLAYER = np.dtype(
    [
        # -- Where, how fast: game units, units a frame
        ("x", "f4"), ("y", "f4"),
        ("vx", "f4"), ("vy", "f4"),
        ("ground_speed", "f4"),
        ("kx", "f4"), ("ky", "f4"),
        ("facing", "f4"),  # 1 right, -1 left
        # -- What: action id, its animation's age and speed, frames since it began
        ("action", "i2"), ("frames", "i2"),
        ("age", "f4"), ("rate", "f4"),
        ("number", "f4"),  # what an action remembers: see exphil_tf.sim.rules.actions
        ("flag", "i1"),
        # -- Body
        ("character", "i1"), ("stock", "i1"), ("jumps", "i1"),
        ("grounded", "i1"), ("fast_falls", "i1"), ("line", "i1"),
        ("floated", "i1"),  # Peach: since the ground was left
        ("hogged", "i1"),  # side of the ledge that the other holds: -1, 0 or 1
        ("percent", "f4"), ("shield", "f4"),
        ("hitlag", "f4"), ("hitstun", "f4"),
        ("air_frames", "i2"),  # since the ground was left, or the last jump
        ("feet", "f4"),  # their height above the position
        ("helpless", "i2"),  # special move that the last special fall came of; 0: an air dodge
        ("safe_frames", "i2"),  # of invulnerability to come
        ("ledge_wait", "i2"),  # until a ledge may be caught
        ("tech_frames", "i2"),  # since L or R was pressed in the air, for techs
        ("cancel_frames", "i2"),  # since L, R or Z was pressed, for L-cancels
        # -- Hits
        ("struck", "i1"),  # window of hitboxes of the action under way that has touched somebody
        ("used", "u1"),  # move of the action under way that is in the queue already
        ("influence", "i1"),  # whether the stick may bend the launch when hitlag ends
        ("use", "u2"),  # number of the action under way: what it shoots hits as one move
        ("shot_use", "u2"),  # use of the last projectile that hit
        ("stale", "u1", (10,)),  # the last moves that hit, the latest first
        ("grab_left", "f4"),  # frames until a hold is over
        # -- Controller: as the game read it, and for how many frames
        ("stick_x", "f4"), ("stick_y", "f4"), ("c_x", "f4"), ("c_y", "f4"), ("trigger", "f4"),
        ("old_x", "f4"), ("old_y", "f4"), ("older_x", "f4"),
        ("old_c_x", "f4"), ("old_c_y", "f4"), ("old_trigger", "f4"),
        ("buttons", "u1"), ("pressed", "u1"),
        ("tilt_x", "u1"), ("tilt_y", "u1"),  # frames since the stick left the centre that way
        # -- Pushed, game units on this frame
        ("push", "f4"),  # of the other's body, this frame
        ("wind", "f4"),  # Dream Land: of Whispy, on every frame
        # -- Kept between actions: see exphil_tf.sim.rules.keeps
        ("charge", "u1"), ("levels", "i1"), ("ticks", "i2"),  # percent of a full charge; its parts
        ("lift_spent", "u1"), ("judge_last", "u1"), ("judge_before", "u1"),
        ("was_code", "u2"), ("was_frame", "i2"), ("was_hitlag", "u1"), ("was_character", "i1"),
        ("was_percent", "f4"),
    ],
    align=True,
)  # fmt: skip
"""One player."""

SHOTS = 8
"""Projectiles of a match at once; who shoots a ninth shoots nothing."""
SHOT = np.dtype(
    [
        ("x", "f4"), ("y", "f4"), ("vx", "f4"), ("vy", "f4"),
        ("flown", "f4"),  # game units since it left
        ("share", "f4"),  # of its damage: how stale it was as it left
        ("life", "i2"),  # frames left
        ("use", "u2"),  # of its owner, that it left in
        ("kind", "i1"),  # row of the table of shots + 1; 0: none
        ("owner", "i1"),
        ("fresh", "i1"),  # since this frame
        ("struck", "i1"),  # 1: somebody on this frame; 2: a shield
    ],
    align=True,
)  # fmt: skip
"""A projectile; see `exphil_tf.sim.rules.shots`."""

MATCH = np.dtype(
    [
        ("players", PLAYER, (2,)),
        ("frame", "i4"),
        ("stage", "i4"),  # row of the stage tables, not the id
        ("limit", "i4"),  # last frame by time
        ("over", "i4"),
        ("seed", "u8"),
        ("shots", SHOT, (SHOTS,)),
        # -- What moves by itself: see exphil_tf.sim.rules.moving
        ("heights", "f4", (2,)),  # of Fountain of Dreams' platforms, left and right, as replays
        # tell them
        ("goals", "f4", (2,)),  # heights that they move to
        ("waits", "i2", (2,)),  # frames until the next lot
        ("moods", "i1", (2,)),  # what they do
        ("blows", "i1"),  # Dream Land's wind: -1 left, 1 right, 0 none
        ("transforms", "i1"),  # whether Pokémon Stadium does; else it keeps its first form
        ("form", "i1"),
        ("coming", "i1"),  # that stands or sinks, and that rises: the same if none
    ],
    align=True,
)
"""One match."""

INPUT = np.dtype(
    [
        ("stick_x", "f4"), ("stick_y", "f4"), ("c_x", "f4"), ("c_y", "f4"), ("trigger", "f4"),
        ("buttons", "u1"),
    ],
    align=True,
)  # fmt: skip
"""A controller as the game reads it: on its grids, dead zones applied; buttons as `c.buttons`."""

MAX_BYTES = 2048
"""Of a match; the acceptance of the simulator's memory."""

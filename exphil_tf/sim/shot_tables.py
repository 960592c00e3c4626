"""Projectiles as records that rules index: `data/shots.csv`, which `fit` estimates."""

from __future__ import annotations

import functools

import numpy as np

from exphil_tf.melee.specials import CHARACTERS
from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import data_file, read_rows
from exphil_tf.sim.hit_tables import HIT

MAX_SHOTS = 120
"""Rows; a shot's kind is an int8."""
SHOT_KIND = np.dtype(
    [
        ("age", "f4"),  # of the action, at which it leaves
        ("x", "f4"), ("y", "f4"),  # where, forwards and up from the player
        ("speed_x", "f4"), ("speed_y", "f4"),
        ("gain_x", "f4"), ("gain_y", "f4"),  # of the speed, a frame: forwards, up
        ("keeps_x", "f4"), ("keeps_y", "f4"),  # shares of the speed after a bounce; 0: no bounce
        ("size", "f4"), ("tail", "f4"),  # radius, and how far a beam reaches back
        ("hit", HIT),
        ("type", "u2"), ("life", "i2"),  # item id; frames
        ("state", "u1"),  # of the item
        ("part", "i1"),  # of a charge: how many levels it takes; 0: none
        ("flinches", "i1"),  # 0: damage alone
        ("character", "i1"),
    ],
    align=True,
)  # fmt: skip
"""What leaves somebody at an age of an action."""
SHOT_FIELDS = [
    ("shots", SHOT_KIND, (MAX_SHOTS,)),
    ("shot_first", "i2", (CHARACTERS, act.ACTIONS)),  # row of the first that leaves
    ("shot_count", "i2", (CHARACTERS, act.ACTIONS)),
]
_TWINS = ((0, 21), (6, 20))
"""Mario and Dr. Mario, Link and Young Link: one's rows where games show nothing of the other's."""
SHOT_TABLES = np.dtype(SHOT_FIELDS, align=True)
_HIT_NAMES = HIT.names or ()


@functools.cache
def shot_tables() -> np.ndarray:
    """`SHOT_TABLES` `[]`, read once."""
    found = np.zeros((), SHOT_TABLES)
    rows = read_rows(data_file("shots.csv"))
    for at, row in enumerate(rows):
        kind = found["shots"][at]
        for name in SHOT_KIND.names or ():
            if name != "hit":
                kind[name] = float(row[name])
        for name in _HIT_NAMES:
            kind["hit"][name] = float(row[name])
        key = int(row["character"]), int(row["action"])
        if not found["shot_count"][key]:
            found["shot_first"][key] = at
        found["shot_count"][key] += 1
    for one, other in (*_TWINS, *[pair[::-1] for pair in _TWINS]):
        if not found["shot_count"][one].any():
            for name in ("shot_first", "shot_count"):
                found[name][one] = found[name][other]
    found.setflags(write=False)
    return found


def kind_of(character: int, item_type: int, state: int) -> int:
    """`kind` of a `SHOT` that a recorded item is, 0 for one that the rules do not know."""
    kinds = shot_tables()["shots"]
    same = (kinds["type"] == item_type) & (kinds["state"] == state) & (kinds["life"] > 0)
    own = same & (kinds["character"] == character)
    at = np.flatnonzero(own if own.any() else same)
    return int(at[0]) + 1 if len(at) else 0

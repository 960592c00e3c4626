"""How wide bodies are beside a stage's side, as records that rules index: `data/diamonds.csv`."""

from __future__ import annotations

import functools

import numpy as np

from exphil_tf.melee.specials import CHARACTERS
from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import data_file, read_rows

MAX_SIDES = 12_000
"""Frames of all actions that show a width, with room."""
DIAMOND_FIELDS = [
    ("side_row", "i4", (CHARACTERS, act.ACTIONS)),  # of an action's first frame; -1: none shown
    ("side_last", "i2", (CHARACTERS, act.ACTIONS)),  # its last frame
    ("sides", "f4", (MAX_SIDES, 2)),  # half width; height of the side corners above the position
]
_TABLES = np.dtype(DIAMOND_FIELDS, align=True)


@functools.cache
def diamond_tables() -> np.ndarray:
    """`DIAMOND_FIELDS` `[]`, read once; frames between those that are shown lie between them."""
    found = np.zeros((), _TABLES)
    found["side_row"] = -1
    shown: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for row in read_rows(data_file("diamonds.csv")):
        key = int(row["character"]), int(row["action"])
        values = (float(row[name]) for name in ("age", "wide", "middle"))
        shown.setdefault(key, []).append(tuple(values))  # pyright: ignore[reportArgumentType]
    used = 0
    for key, frames in sorted(shown.items()):
        ages, *values = np.array(sorted(frames)).T
        last = int(ages[-1])
        part = found["sides"][used : used + last + 1]
        for at, one in enumerate(values):
            part[:, at] = np.interp(np.arange(last + 1), ages, one)
        found["side_row"][key], found["side_last"][key] = used, last
        used += last + 1
    found.setflags(write=False)
    return found

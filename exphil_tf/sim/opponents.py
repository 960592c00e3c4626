"""Scripted opponents: readable players of graded strength, as compiled rules over a match's state.

A script sees the match as it stands and says what is held on the next frame. It remembers nothing:
what a hand has to remember (a button must be let go before it is pressed again) it reads off the
controller of the frame before, and chance is a hash of the match's seed, the frame and the seat. So
a script's play is a function of the match alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exphil_tf.sim.compiled import kernel, rule

EXTERNAL = -1
"""In place of a script: played from outside."""
SCRIPTS = ("stander",)
"""Names, from the weakest on."""


def script_ids(names: Sequence[tuple[str, str]]) -> np.ndarray:
    """int8 `[matches, 2]`: places in `SCRIPTS`; `EXTERNAL` for "".

    Raises: ValueError: naming the script that is not there.
    """
    known = {"": EXTERNAL} | {name: place for place, name in enumerate(SCRIPTS)}
    unknown = {name for pair in names for name in pair} - set(known)
    if unknown:
        raise ValueError(f"scripts: want some of {list(SCRIPTS)}. Received: {sorted(unknown)}")
    return np.array([[known[name] for name in pair] for pair in names], np.int8)


@kernel
def play_scripts(matches, players, scripts, pads, tables):
    """Fills in the controllers of those who are played by scripts.

    Args:
      matches: `MATCH` `[matches]`, as they stand.
      players: their `players`, `[matches, 2]`.
      scripts: int8 `[matches, 2]`: places in `SCRIPTS`, or `EXTERNAL`.
      pads: `INPUT` `[matches, 2]`, written.
      tables: `TABLES` `[1]`.
    """
    for at in range(len(matches)):
        for seat in range(2):
            if scripts[at, seat] >= 0 and not matches[at].over:
                pad = pads[at, seat]
                _let_go(pad)


@rule
def _let_go(pad):
    pad.stick_x = 0.0
    pad.stick_y = 0.0
    pad.c_x = 0.0
    pad.c_y = 0.0
    pad.trigger = 0.0
    pad.buttons = 0

"""Scripted opponents: readable players of graded strength, by name.

Their rules are in `exphil_tf.sim.rules.scripts`; here they have names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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

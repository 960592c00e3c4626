"""Scripted opponents: readable players of graded strength, by name.

Their rules are in `exphil_tf.sim.rules.scripts`; here they have names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXTERNAL = -1
"""In place of a script: played from outside."""
SCRIPTS: dict[str, str] = {
    "stander": "does nothing, lets go of ledges and does not come back either",
    "walker": "walks about",
    "turtle": "waits in the shield, grabs who comes near",
    "camper": "hangs on a ledge, attacks who stands above it",
    "jumper": "jumps at the opponent, high, and attacks in the air",
    "spacer": "dances just out of reach, steps in when something misses",
    "aggressor": "runs in and always does something",
    "punisher": "shields what comes, hits what cannot answer, guards the edge",
}
"""Name → what it does; their order is that of `rules.scripts`, about that of their strength, which
`docs/simulator.md` has the measure of."""
PREFIXES = ("script:", "cpu-like:")
"""In front of a script's name where an opponent may be something else too."""


def script_name(opponent: str) -> str | None:
    """The script that an opponent's name means; None if it means no script.

    Raises: ValueError: if there is no such script.
    """
    prefix = next((prefix for prefix in PREFIXES if opponent.startswith(prefix)), None)
    if prefix is None:
        return None
    name = opponent.removeprefix(prefix)
    if name not in SCRIPTS:
        raise ValueError(f"{prefix}NAME: want one of {list(SCRIPTS)}. Received: {name!r:.40}")
    return name


def script_ids(names: Sequence[tuple[str, str]]) -> np.ndarray:
    """int8 `[matches, 2]`: places in `SCRIPTS`; `EXTERNAL` for "".

    Raises: ValueError: naming the script that is not there.
    """
    known = {"": EXTERNAL} | {name: place for place, name in enumerate(SCRIPTS)}
    unknown = {name for pair in names for name in pair} - set(known)
    if unknown:
        raise ValueError(f"scripts: want some of {list(SCRIPTS)}. Received: {sorted(unknown)}")
    return np.array([[known[name] for name in pair] for pair in names], np.int8)

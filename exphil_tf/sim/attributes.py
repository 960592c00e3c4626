"""How each character moves: a table of constants by character, estimated from recorded games.

`data/attributes.csv` is what `python -m exphil_tf.sim fit` writes: value, frames that show it,
their spread, and where it comes from. Where no game shows a constant, libmelee's
`characterdata.csv` is read at run time, and else the default below holds.
"""

from __future__ import annotations

import csv
import functools
import importlib.util
from pathlib import Path

import numpy as np

from exphil_tf.melee.specials import CHARACTERS

DEFAULTS: dict[str, float] = {
    # -- Air: units a frame, and a frame squared
    "gravity": 0.1, "terminal": 2.0, "fast_fall": 2.5,
    "drift_stick": 0.04, "drift_base": 0.02, "drift_max": 0.9, "air_friction": 0.02,
    # -- Ground
    "friction": 0.08, "walk_base": 0.1, "walk_stick": 0.1, "walk_max": 1.2,
    "walk_middle": 0.5, "walk_fast": 0.9,
    "dash_speed": 1.5, "run_stick": 0.1, "run_base": 0.02, "run_max": 1.5,
    "dash_frames": 21, "run_frame": 12, "turn_frames": 11, "brake_frames": 18,
    "turn_run_frames": 20, "turn_run_stops": 9, "turn_faces": 5,
    # -- Jumps
    "jumpsquat": 4, "jump_speed": 2.4, "hop_speed": 1.5, "jump_carry": 0.75, "jump_stick": 0.8,
    "jump_max": 1.4, "air_jump_speed": 2.2, "air_jump_stick": 0.9, "jumps": 2,
    "jump_frames": 40, "air_jump_frames": 50, "dodge_frames": 29, "dodge_step": 1.0,
    "multi_jump": 0,
    # -- Landings: frames
    "landing_lag": 4, "landing_frames": 30,
    "nair_lag": 15, "fair_lag": 20, "bair_lag": 20, "uair_lag": 18, "dair_lag": 24,
    "squat_frames": 8, "rise_frames": 10,
    # -- Bodies: half of the distance at which they push; from the middle to a wall
    "body": 3.25, "girth": 3.0,
}  # fmt: skip
"""Names of the constants, and what holds for a character of whom nothing is known."""
ATTRIBUTES = np.dtype([(name, "f4") for name in DEFAULTS], align=True)
_MARIO, _BOWSER, _LINK, _NESS, _MEWTWO, _LUIGI, _PICHU = 0, 5, 6, 8, 16, 17, 23
_PUBLISHED = {
    (_MARIO, "run_max"): 1.5, (_BOWSER, "run_max"): 1.5, (_LINK, "run_max"): 1.3,
    (_NESS, "run_max"): 1.4, (_MEWTWO, "run_max"): 1.4, (_LUIGI, "run_max"): 1.34,
    (_PICHU, "run_max"): 1.72, (_MARIO, "jumpsquat"): 4, (_BOWSER, "jumpsquat"): 8,
    (_LINK, "jumpsquat"): 6, (_NESS, "jumpsquat"): 4, (_PICHU, "jumpsquat"): 3,
}  # fmt: skip
"""What SmashWiki's pages of the characters say where neither games nor libmelee show it."""
_MELEE = {
    "friction": "Friction", "gravity": "Gravity", "terminal": "TerminalVelocity",
    "walk_max": "MaxWalkSpeed", "air_jump_speed": "InitDJSpeed", "fast_fall": "FastFallSpeed",
    "drift_max": "AirSpeed", "air_friction": "AirFriction",
    "air_jump_stick": "InitDJSpeed_x",
}  # fmt: skip
"""Our name → libmelee's column."""
_FOLDER = Path(__file__).parent / "data"
FITTED = _FOLDER / "attributes.csv"
MIN_COUNT = 8
"""Frames that an estimate needs to be believed."""


@functools.cache
def attribute_table() -> np.ndarray:
    """Structured `[CHARACTERS]` of `ATTRIBUTES`, by internal character id."""
    table = np.zeros(CHARACTERS, ATTRIBUTES)
    for name, value in DEFAULTS.items():
        table[name] = value
    for (character, name), value in melee_values().items():
        if value > 0:
            table[name][character] = value
    for (character, name), value in _PUBLISHED.items():
        table[name][character] = value
    for row in read_rows(FITTED):
        if int(row["count"]) >= MIN_COUNT:
            table[row["attribute"]][int(row["character"])] = float(row["value"])
    table.setflags(write=False)
    return table


@functools.cache
def melee_values() -> dict[tuple[int, str], float]:
    """(Character, attribute) → what libmelee's table holds."""
    found: dict[tuple[int, str], float] = {}
    for row in read_rows(melee_file("characterdata.csv")):
        character = int(row["CharacterIndex"])
        found |= {(character, ours): float(row[theirs]) for ours, theirs in _MELEE.items()}
        found[character, "jumps"] = float(row["Jumps"]) + 1
    return found


def melee_file(name: str) -> Path:
    """A data file of the `melee` package, without importing it.

    Raises: ImportError: if it is not installed.
    """
    spec = importlib.util.find_spec("melee")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("melee: the libmelee package (`pip install melee`) is needed")
    return Path(spec.submodule_search_locations[0]) / name


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def data_file(name: str) -> Path:
    """A table of ours."""
    return _FOLDER / name

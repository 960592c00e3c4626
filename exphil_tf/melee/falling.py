"""How fast characters fall, from libmelee's `characterdata.csv`, without importing libmelee."""

import csv
import functools
import importlib.util
from pathlib import Path

import numpy as np


@functools.cache
def fall_table() -> np.ndarray:
    """float32 `[256, 2]` by internal character: gravity (units/frame²) and terminal speed.

    0 where it is unknown.

    Raises:
      ImportError: if libmelee is not installed.
    """
    spec = importlib.util.find_spec("melee")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("melee: the libmelee package (`pip install melee`) is needed")
    table = np.zeros((256, 2), np.float32)
    path = Path(spec.submodule_search_locations[0]) / "characterdata.csv"
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            table[int(row["CharacterIndex"])] = row["Gravity"], row["TerminalVelocity"]
    table.setflags(write=False)
    return table

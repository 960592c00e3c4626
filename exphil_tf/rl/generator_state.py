"""The state of a random generator as an array, for checkpoints."""

from __future__ import annotations

import json

import numpy as np


def to_array(rng: np.random.Generator) -> np.ndarray:
    """uint8 `[bytes]`."""
    return np.frombuffer(json.dumps(rng.bit_generator.state).encode(), np.uint8)


def restore(rng: np.random.Generator, state: np.ndarray) -> None:
    """The inverse of `to_array`, of a generator of the same kind."""
    rng.bit_generator.state = json.loads(state.tobytes().decode())

"""Random inputs of policies, drawn from the schema's own ranges."""

import numpy as np

from exphil_tf.features.controller import AXES, ControllerCodec
from exphil_tf.features.schema import SCHEMA


def columns(*lead: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns schema columns and conditions `[*lead, …]`, legal values (floats within ±300)."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for field in SCHEMA.fields:
        low, high = max(field.low, -300), min(field.high, 300)
        shape = (*lead, *field.shape)
        if field.dtype.startswith("float"):
            drawn[field.name] = rng.uniform(low, high, shape).astype(field.dtype)
        else:
            drawn[field.name] = rng.integers(int(low), int(high) + 1, shape).astype(field.dtype)
    drawn["name"] = rng.integers(0, 113, lead).astype(np.int32)
    drawn["delay"] = rng.integers(0, 61, lead).astype(np.int32)
    drawn["return"] = rng.integers(0, 6, lead).astype(np.int32)
    return drawn


def prev_action(*lead: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns decoded controller values."""
    rng = np.random.default_rng(seed)
    values = {"buttons": rng.integers(0, 2, (*lead, 8)).astype(np.float32)}
    values |= {axis: rng.uniform(-1, 1, lead).astype(np.float32) for axis in AXES}
    return values | {"shoulder": rng.uniform(0, 1, lead).astype(np.float32)}


def targets(codec: ControllerCodec, *lead: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns buckets."""
    rng = np.random.default_rng(seed)
    buckets = {"buttons": rng.integers(0, 2, (*lead, 8)).astype(np.int32)}
    sizes = {name: size for name, size in codec.sizes.items() if name != "buttons"}
    return buckets | {n: rng.integers(0, s, lead).astype(np.int32) for n, s in sizes.items()}

"""Hypothesis strategies derived from the feature schema: a new field needs no change here.

Values come from a seeded generator, so a failing example prints as a few numbers; what shrinks
is the length and the share of extreme values.
"""

import numpy as np
from hypothesis import strategies as st

from exphil_tf.features.schema import SCHEMA, Field, Store
from exphil_tf.melee.types import Frames

STICK_GRID, TRIGGER_GRID = 80, 140


def frames(
    *, min_frames: int = 1, max_frames: int = 24, on_grid: bool = True
) -> st.SearchStrategy[Frames]:
    """Frames with every value inside the schema's range; sticks and triggers on the game's grid."""
    return st.builds(
        make_frames,
        seed=st.integers(0, 2**32 - 1),
        num_frames=st.integers(min_frames, max_frames),
        extremes=st.sampled_from([0.0, 0.1, 1.0]),
        on_grid=st.just(on_grid),
    )


def make_frames(*, seed: int, num_frames: int, extremes: float, on_grid: bool) -> Frames:
    """The frames that a seed stands for; `extremes`: share of limits and zeros.

    What is absent is zero.
    """
    rng = np.random.default_rng(seed)
    columns = {
        field.name: _column(rng, field, (num_frames, *field.shape), extremes, on_grid)
        for field in SCHEMA.fields
    }
    for field in SCHEMA.fields:
        if field.present:
            columns[field.name][columns[field.present] == 0] = 0
    return Frames(columns)


def _column(
    rng: np.random.Generator, field: Field, shape: tuple[int, ...], extremes: float, on_grid: bool
) -> np.ndarray:
    if field.dtype == "float32":
        values = rng.uniform(field.low, field.high, shape)
    else:
        values = rng.integers(int(field.low), int(field.high), shape, endpoint=True)
    limits = rng.choice([v for v in (field.low, field.high, 0, -0.0) if v >= field.low], shape)
    values = np.where(rng.random(shape) < extremes, limits, values)
    if on_grid and field.store is Store.STICK:
        values = np.rint(values * STICK_GRID).astype(np.float32) / np.float32(STICK_GRID)
    if on_grid and field.store is Store.TRIGGER:
        values = np.rint(values * TRIGGER_GRID).astype(np.float32) / np.float32(TRIGGER_GRID)
    return values.astype(field.dtype)


def controller_bytes() -> st.SearchStrategy[np.ndarray]:
    """uint8 `[n, 6]`: every kind of stored controller, sticks -80…80 and triggers 0…140."""
    return st.builds(make_controller_bytes, st.integers(0, 2**32 - 1), st.integers(1, 200))


def make_controller_bytes(seed: int, count: int) -> np.ndarray:
    """The controllers that a seed stands for."""
    rng = np.random.default_rng(seed)
    sticks = rng.integers(-80, 80, (count, 4), endpoint=True).astype(np.int8).view(np.uint8)
    shoulder = rng.integers(0, 140, (count, 1), endpoint=True).astype(np.uint8)
    buttons = rng.integers(0, 255, (count, 1), endpoint=True).astype(np.uint8)
    return np.concatenate([sticks, shoulder, buttons], axis=1)

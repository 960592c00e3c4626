"""Controllers that press anything, on the game's own grids: for soak tests and for speed."""

from __future__ import annotations

import numpy as np

from exphil_tf.melee.controls import STICK_STEPS, clamp_stick
from exphil_tf.sim.state import INPUT

_HELD_FRAMES = 12
"""Frames after which a controller is, on average, another one."""


class RandomPads:
    """A stream of controllers; the same for a seed.

    Args:
      count: matches.
      seed: of the stream.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._now = np.zeros((count, 2), INPUT)

    def next(self) -> np.ndarray:
        """`INPUT` `[count, 2]` of the next frame; a new array."""
        shape = self._now.shape
        fresh = np.zeros(shape, INPUT)
        for x, y in (("stick_x", "stick_y"), ("c_x", "c_y")):
            raw = self._rng.integers(-STICK_STEPS, STICK_STEPS + 1, (2, *shape))
            centred = self._rng.random(shape) < (0.3 if x == "stick_x" else 0.9)
            raw = np.where(centred, 0, raw)
            for name, value in zip((x, y), clamp_stick(*raw), strict=True):
                fresh[name] = value / STICK_STEPS
        pressed = self._rng.random((8, *shape)) < 0.15
        fresh["buttons"] = np.packbits(pressed, axis=0, bitorder="little")[0]
        fresh["trigger"] = np.where(fresh["buttons"] & 0x60, 1.0, 0.0)
        changes = self._rng.random(shape) < 1 / _HELD_FRAMES
        self._now = np.where(changes, fresh, self._now)
        return self._now

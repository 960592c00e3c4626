"""Matches that live on a GPU: the rules of `kernel`, one thread a match.

    on_gpu = GpuMatches(world.matches)
    on_gpu.step(pads)         # INPUT [matches, 2], of this machine or of the GPU
    matches = on_gpu.read()

The rules are those that run on processors, compiled anew for CUDA by the package numba-cuda, which
has to be installed (numba's own CUDA target cannot compile `min`). Fused products and other sines
round differently there, so that a match may take another course after a while.
"""

from __future__ import annotations

from typing import Any

import numba.cuda
import numpy as np

from exphil_tf.sim.kernel import step
from exphil_tf.sim.tables import tables

cuda: Any = numba.cuda  # whose annotations are those of its simulator
_BLOCK = 64
"""Threads of a block: a rule holds many values, of which a multiprocessor has room for few."""


@cuda.jit
def step_on_gpu(matches, pads, table):
    """One frame of every match that is not over; see `kernel.play_matches`."""
    at = cuda.grid(1)
    if at < len(matches) and not matches[at].over:
        step(matches[at], pads[at], table[0])


class GpuMatches:
    """A copy of matches on the current GPU.

    Args:
      matches: `MATCH` `[matches]`.
      table: `TABLES` `[1]`; None for `tables()`.
    """

    def __init__(self, matches: np.ndarray, table: np.ndarray | None = None) -> None:
        self._matches = cuda.to_device(matches)
        self._table = cuda.to_device(tables() if table is None else table)
        self._blocks = -(-len(matches) // _BLOCK)

    def step(self, pads: Any) -> None:
        """One frame of every match that is not over; returns before it is done.

        Args:
          pads: `INPUT` `[matches, 2]`, of numpy or already on the GPU (`cuda.to_device`).
        """
        step_on_gpu[self._blocks, _BLOCK](self._matches, pads, self._table)

    def read(self) -> np.ndarray:
        """`MATCH` `[matches]` as they stand, once all steps are done."""
        return self._matches.copy_to_host()

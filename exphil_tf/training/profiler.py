"""A trace of some updates for TensorBoard's profile page."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

FIRST, LAST = 10, 20
"""Updates of a process between which it is traced: past compilation and the first batches."""


class Profiler:
    """Traces updates `FIRST` to `LAST` of this process.

    Args:
      folder: TensorBoard's.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._updates = 0
        self._is_tracing = False

    def saw_update(self) -> None:
        """Counts an update that is done, and starts or ends the trace."""
        self._updates += 1
        if self._updates == FIRST:
            tf.profiler.experimental.start(str(self._folder))
            self._is_tracing = True
        elif self._updates == LAST:
            self.close()

    def close(self) -> None:
        """Writes the trace if one is being made."""
        if self._is_tracing:
            self._is_tracing = False
            tf.profiler.experimental.stop()

"""A bell that one thread rings and another waits for, awake for a moment before it sleeps.

To sleep and be woken takes tens of microseconds, more on a virtual machine, and a frame of a
thousand matches half a millisecond. So who waits looks at memory for a while, without the
interpreter's lock, and sleeps only then.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numba
import numba.core.config
import numpy as np
from numba.core import cgutils
from numba.core.extending import intrinsic

from exphil_tf.sim.compiled import kernel

_config: Any = numba.core.config
_LOOKS = 300_000
"""Of a thread that waits, before it sleeps: some 150 µs."""
_MOMENT = 30_000
"""Looks of a thread that heard it: some 3 µs, in which who rang lets go of the interpreter."""


def _look(context: Any, array: Any) -> Any:
    """What stands in an array's first place at this moment: the compiler may not keep it."""

    def generate(context: Any, builder: Any, *call: Any) -> Any:
        signature, (value,) = call
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, value).data
        return builder.load_atomic(data, "acquire", 8)

    return numba.types.int64(array), generate


_now: Any = intrinsic(_look)


class Bell:
    """Counts how often it rang, and how often that was waited for.

    Args:
      awake: whether who waits stays awake for a while; not where threads outnumber cores.
    """

    def __init__(self, *, awake: bool) -> None:
        self._rings = np.zeros(1, np.int64)
        self._heard = 0
        self._looks = _LOOKS if awake and not _config.DISABLE_JIT else 0
        self._sleeps = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Ends one `wait`, of now or later."""
        self._rings[0] += 1
        if self._sleeps:
            self._wake.put(None)

    def wait(self) -> None:
        """Until it rings once more. One thread only waits for a bell."""
        self._heard += 1
        if self._looks and _rang(self._rings, self._heard, self._looks):
            return
        self._sleeps = True
        try:
            while self._rings[0] < self._heard:  # a wake-up may be one of an earlier wait
                self._wake.get()
        finally:  # Ctrl-C ends a wait, too
            self._sleeps = False


@kernel
def _rang(rings: np.ndarray, heard: int, looks: int) -> bool:
    """Looks until it rings, and for a moment more; false after so many looks in vain."""
    for _ in range(looks):
        if _now(rings) >= heard:
            for _ in range(_MOMENT):
                _now(rings)
            return True
    return False

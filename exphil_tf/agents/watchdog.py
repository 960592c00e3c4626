"""Ends a wait for Dolphin that would last for ever: it died, or it lives and gives no frame."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_LOOK_S = 0.2


class Watchdog:
    """Looks at a process from a thread of its own.

    Args:
      exit_code: of the process, None while it runs.
      interrupt: ends the wait, from any thread.
      patience_s: that a living process may take for a frame that is waited for.
      clock: seconds.
    """

    def __init__(
        self,
        exit_code: Callable[[], int | None],
        interrupt: Callable[[], None],
        *,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.reason = ""
        """Why it bit, as a sentence; empty if it did not."""
        self._exit_code, self._interrupt = exit_code, interrupt
        self._patience_s, self._clock = patience_s, clock
        self._last_s = clock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Somebody begins to wait for a frame."""
        self._last_s = self._clock()

    def rest(self) -> None:
        """Nobody waits for a frame until the next `beat`: a process that gives none is well."""
        self._last_s = math.inf

    def stop(self) -> None:
        """Looks no more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            code = self._exit_code()
            if code is not None:
                self.reason = f"Dolphin ended by itself (exit code {code})"
            elif self._clock() - self._last_s > self._patience_s:
                self.reason = f"Dolphin gave no frame for {self._patience_s:g} s"
            if self.reason:
                self._interrupt()
                return

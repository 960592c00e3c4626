"""Work on matches, shared among threads: each share keeps its thread, from frame to frame.

So its matches stay in one core's cache. A frame takes a fraction of a millisecond, of which an
executor's futures would be a tenth: a queue to each thread and one back are all that is between.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

Work = Callable[[slice], None]


class Shares:
    """Even parts of some things in a row, one for each thread.

    Args:
      count: of things.
      threads: that work, the calling one among them.
    """

    def __init__(self, count: int, threads: int) -> None:
        ends = np.linspace(0, count, threads + 1).astype(int).tolist()
        parts = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True) if b > a]
        self._own, others = parts[0], parts[1:]
        self._helpers = [_Helper(part) for part in others]

    def each(self, work: Work) -> None:
        """Does some work on all parts at once; what it raises is raised once all are done."""
        for helper in self._helpers:
            helper.todo.put(work)
        errors: list[BaseException] = []
        try:
            work(self._own)
        finally:
            errors += [error for helper in self._helpers if (error := helper.done.get())]
        for error in errors:
            raise error


class _Helper:
    """A thread that does one piece of work after another on its part, until it is dropped."""

    def __init__(self, part: slice) -> None:
        self.todo: SimpleQueue[Work | None] = SimpleQueue()
        self.done: SimpleQueue[BaseException | None] = SimpleQueue()
        arguments = (part, self.todo, self.done)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
        weakref.finalize(self, self.todo.put, None)


def _serve(
    part: slice, todo: SimpleQueue[Work | None], done: SimpleQueue[BaseException | None]
) -> None:
    while (work := todo.get()) is not None:
        error = None
        try:
            work(part)
        except BaseException as raised:  # is the caller's, not this thread's
            error = raised
        # Whoever waits may drop everything: nothing of the work is held on to.
        del work
        done.put(error)
        del error

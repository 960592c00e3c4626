"""Work on matches, shared among threads: each does nearly the same matches from frame to frame.

So these stay in one core's cache. A frame takes a fraction of a millisecond, of which futures of an
executor would be a tenth: a queue to each thread and one back are all that is between. The calling
thread begins while others still wake, so it takes more, until it no longer waits at the end.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[slice], None]
_STEPS = 256
"""Shares grow and shrink by such a part of all."""
_HASTE = 4
"""Waiting costs more than a share that is too large: steps forth for each step back."""


class Shares:
    """Parts of some things in a row, one for each thread.

    Args:
      count: of things.
      threads: that work, the calling one among them.
    """

    def __init__(self, count: int, threads: int) -> None:
        self._count = count
        self._helpers = [_Helper() for _ in range(min(threads, count) - 1)]
        self._own = count // (len(self._helpers) + 1)

    def each(self, work: Work) -> None:
        """Does some work on all parts at once; what it raises is raised once all are done."""
        own, *others = self._parts()
        for helper, part in zip(self._helpers, others, strict=True):
            helper.todo.put((work, part))
        errors: list[BaseException] = []
        try:
            work(own)
        finally:
            self._balance(waits=any(helper.done.empty() for helper in self._helpers))
            errors += [error for helper in self._helpers if (error := helper.done.get())]
        for error in errors:
            raise error

    def _parts(self) -> list[slice]:
        own, helpers = self._own, len(self._helpers)
        if not helpers:
            return [slice(0, self._count)]
        ends = [own + at * (self._count - own) // helpers for at in range(helpers + 1)]
        return [slice(0, own), *(slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))]

    def _balance(self, *, waits: bool) -> None:
        """More for this thread if it waits for others, less if they wait for it."""
        step = max(1, self._count // _STEPS)
        own = self._own + (_HASTE * step if waits else -step)
        self._own = max(1, min(own, self._count - len(self._helpers)))


class _Helper:
    """A thread that does one piece of work after another, until it is dropped."""

    def __init__(self) -> None:
        self.todo: SimpleQueue[tuple[Work, slice] | None] = SimpleQueue()
        self.done: SimpleQueue[BaseException | None] = SimpleQueue()
        threading.Thread(target=_serve, args=(self.todo, self.done), daemon=True).start()
        weakref.finalize(self, self.todo.put, None)


def _serve(
    todo: SimpleQueue[tuple[Work, slice] | None], done: SimpleQueue[BaseException | None]
) -> None:
    while (task := todo.get()) is not None:
        work, part = task
        error = None
        try:
            work(part)
        except BaseException as raised:  # is the caller's, not this thread's
            error = raised
        # Whoever waits may drop everything: nothing of the work is held on to.
        del work, task
        done.put(error)
        del error

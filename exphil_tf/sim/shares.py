"""Work on matches, shared among threads: each does nearly the same matches from frame to frame.

So these stay in one core's cache. A frame takes a fraction of a millisecond, of which futures of an
executor would be a tenth: a bell to each thread and one back are all that is between. The calling
thread begins a little before the others, and cores are not equally fast, so its share grows or
shrinks until all end at once.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence

from exphil_tf.process.cores import usable_cores
from exphil_tf.sim.bell import Bell

Work = Callable[[slice], None]
_HASTE = 0.2
"""Of what would have made all end at once, what the next share is changed by: times are noisy."""


class Shares:
    """Parts of some things in a row, one for each thread.

    Args:
      count: of things.
      threads: that work, the calling one among them.
    """

    def __init__(self, count: int, threads: int) -> None:
        self._count = count
        awake = threads <= usable_cores()
        self._helpers = [_Helper(awake=awake) for _ in range(min(threads, count) - 1)]
        self._own = count // (len(self._helpers) + 1)

    def each(self, work: Work) -> None:
        """Does some work on all parts at once; what it raises is raised once all are done."""
        own, *others = self._parts()
        for helper, part in zip(self._helpers, others, strict=True):
            helper.begin(work, part)
        errors: list[BaseException] = []
        began = time.perf_counter()
        try:
            work(own)
        finally:
            ended = time.perf_counter()
            errors += [error for helper in self._helpers if (error := helper.end())]
            self._balance(began, ended, [helper.ended for helper in self._helpers])
        for error in errors:
            raise error

    def _parts(self) -> list[slice]:
        own, helpers = self._own, len(self._helpers)
        if not helpers:
            return [slice(0, self._count)]
        ends = [own + at * (self._count - own) // helpers for at in range(helpers + 1)]
        return [slice(0, own), *(slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))]

    def _balance(self, began: float, ended: float, others: Sequence[float]) -> None:
        """More for this thread if it waits for others, less if they wait for it.

        Args:
          began: when this thread did, seconds of `time.perf_counter`.
          ended: when this thread was done.
          others: when each of the other threads was done.
        """
        if not others:
            return
        latest, rest = max(others), (self._count - self._own) / len(others)
        # One thing more here takes that much longer here, and shortens what each other thread has.
        one_more = (ended - began) / self._own + (latest - began) / rest / len(others)
        own = self._own + round(_HASTE * (latest - ended) / one_more)
        self._own = max(1, min(own, self._count - len(others)))


class _Helper:
    """A thread that does one piece of work after another, until it is dropped."""

    def __init__(self, *, awake: bool) -> None:
        self._desk = _Desk(awake=awake)
        threading.Thread(target=_serve, args=(self._desk,), daemon=True).start()
        weakref.finalize(self, self._desk.begin, None)

    def begin(self, work: Work, part: slice) -> None:
        """Has a piece of work done."""
        self._desk.begin((work, part))

    def end(self) -> BaseException | None:
        """Waits until it is done, and tells what it raised."""
        self._desk.done.wait()
        error, self._desk.error = self._desk.error, None
        return error

    @property
    def ended(self) -> float:
        """When the last work was done, seconds of `time.perf_counter`."""
        return self._desk.ended


class _Desk:
    """What lies between the thread that helps and the one that it helps."""

    def __init__(self, *, awake: bool) -> None:
        self.todo, self.done = Bell(awake=awake), Bell(awake=awake)
        self.task: tuple[Work, slice] | None = None
        self.error: BaseException | None = None
        self.ended = 0.0

    def begin(self, task: tuple[Work, slice] | None) -> None:
        """Puts down what to do; None: nothing ever again."""
        self.task = task
        self.todo.ring()


def _serve(desk: _Desk) -> None:
    while True:
        desk.todo.wait()
        if desk.task is None:
            return
        work, part = desk.task
        # Whoever waits may drop everything: nothing of the work is held on to.
        desk.task = None
        try:
            work(part)
        except BaseException as raised:  # is the caller's, not this thread's
            desk.error = raised
        del work
        desk.ended = time.perf_counter()
        desk.done.ring()

"""Runs a function on untrusted replays in worker processes that may die.

A damaged replay can make a native parser panic, abort, overflow its stack, hang or ask for all
memory. Here each of these costs one item, never the job: workers have a memory limit, no core
dumps, a time limit per item, an environment without secrets and an end after `max_tasks` items. The
result of each item is the function's value or a `ReplayError`.

A worker may also die, or seem to hang, through no fault of its item: the system was short of memory
and killed it, somebody stopped it, the machine slept. So an item that ran into a limit or lost its
worker is tried once more before that counts: alone, all other workers ended, in a fresh worker,
with twice the time. Time is the worker's processor time; the wall clock only ends what waits
without computing.

Workers come from a fork server that has imported only the reader: a fresh worker costs
milliseconds, and neither TensorFlow nor the caller's `__main__` is ever imported in one. Threads
were dropped because peppi-py holds the GIL and takes the whole process with it; a process per file
because it costs more than parsing.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.worker import Outcome, Task, Worker

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

TIMEOUT_S = 10.0
MEMORY_BYTES = 2 << 30
MAX_TASKS = 1000
_WALL_FACTOR = 3
"""Wall-clock seconds that an item may take, per second of processor time."""
_RETRY_FACTOR = 2
"""How much longer the second attempt may take."""
_BACKSTOP_S = 10
"""A worker ends itself this long after its parent should have ended it."""
_RETRIED = {Reason.TIMEOUT, Reason.CRASHED, Reason.MEMORY}
"""Reasons that the machine may be to blame for."""
_TIMERS = {-signal.SIGPROF, -signal.SIGALRM}
"""Exit codes of workers that their own timers ended."""


@dataclass(frozen=True)
class Limits:
    """What one item may cost.

    Attributes:
      timeout_s: seconds of processor time per item; three times as long by the wall clock.
      memory_bytes: address space of a worker; 0 for no limit.
      max_tasks: items after which a worker is replaced.
    """

    timeout_s: float = TIMEOUT_S
    memory_bytes: int = MEMORY_BYTES
    max_tasks: int = MAX_TASKS

    def __post_init__(self) -> None:
        """Refuses limits under which nothing could run."""
        if self.timeout_s <= 0 or self.memory_bytes < 0 or self.max_tasks < 1:
            raise ValueError(f"limits: want positive limits. Received: {self}")


class _Job:
    """An item on its way."""

    def __init__(self, function: Callable[[Any], Any], item: Any) -> None:
        self.function, self.item = function, item
        self.outcome: Outcome | None = None


class IsolatedPool:
    """Worker processes for functions of one item.

    Functions and items are pickled, so functions are module-level ones (not of `__main__`), items
    best paths or bytes. Use as a context manager, or call `close`. One thread at a time.

    Args:
      workers: number of processes.
      limits: see `Limits`.
      in_flight: items taken ahead of the one awaited; 0 picks twice the workers.
    """

    def __init__(
        self, workers: int = 1, *, limits: Limits | None = None, in_flight: int = 0
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers: want at least 1. Received: workers={workers}")
        self._workers = workers
        self._limits = limits or Limits()
        self._in_flight = in_flight or 2 * workers
        self._idle: list[Worker] = []
        self._busy: dict[Worker, _Job] = {}

    def __enter__(self) -> IsolatedPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the workers at once; results not yet taken are lost. Used again, it starts anew."""
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        self._busy.clear()
        for worker in workers:
            worker.end()

    def call(self, function: Callable[[_Item], _Value], item: _Item) -> _Value | ReplayError:
        """The function's value for one item, or why there is none."""
        return next(self.map_ordered(function, [item]))

    def map_ordered(
        self, function: Callable[[_Item], _Value], items: Iterable[_Item]
    ) -> Generator[_Value | ReplayError]:
        """The function's value for each item, or a `ReplayError`, in the items' order.

        At most `in_flight` items are taken from `items` ahead of the result that is waited for, so
        memory is bounded however long the input. Abandoning the iterator leaves the pool usable.
        """
        jobs: deque[_Job] = deque()
        waiting: deque[_Job] = deque()
        try:
            for item in items:
                job = _Job(function, item)
                jobs.append(job)
                waiting.append(job)
                self._hand_out(waiting)
                if len(jobs) >= self._in_flight:
                    yield self._first(jobs, waiting)
            while jobs:
                yield self._first(jobs, waiting)
        finally:
            for worker in list(self._busy):
                del self._busy[worker]
                worker.end()

    def _first(self, jobs: deque[_Job], waiting: deque[_Job]) -> Any:
        """The oldest job's result; the others go on meanwhile."""
        job = jobs[0]
        while job.outcome is None:
            self._hand_out(waiting)
            self._watch()
        if job.outcome.reason in _RETRIED:
            self._retry(job)
        self._hand_out(waiting)
        jobs.popleft()
        value, reason, detail = job.outcome
        return ReplayError(Reason(reason), detail) if reason else value

    def _hand_out(self, waiting: deque[_Job]) -> None:
        while waiting and len(self._busy) < self._workers:
            self._start(waiting.popleft())

    def _retry(self, job: _Job) -> None:
        """Once more, with the machine to itself as far as it is ours."""
        while self._busy:
            self._watch()
        self.close()
        job.outcome = None
        self._start(job, patience=_RETRY_FACTOR)
        while job.outcome is None:
            self._watch()

    def _start(self, job: _Job, *, patience: int = 1) -> None:
        worker = (
            self._idle.pop()
            if self._idle
            else Worker(memory_bytes=self._limits.memory_bytes, module=job.function.__module__)
        )
        cpu_s = self._limits.timeout_s * patience
        wall_s = cpu_s * _WALL_FACTOR
        task = Task(job.function, job.item, cpu_s, int(wall_s) + _BACKSTOP_S)
        self._busy[worker] = job
        worker.ask(task, deadline_s=time.monotonic() + wall_s)

    def _watch(self) -> None:
        """Waits until something happens to a busy worker, and takes note of it.

        Whoever was heard of is not late: the caller may have been away for long, with the answer
        waiting in the pipe.
        """
        heard: set[Worker] = set()
        with selectors.DefaultSelector() as selector:
            for worker in self._busy:
                events = selectors.EVENT_READ | (worker.is_sending and selectors.EVENT_WRITE)
                selector.register(worker.channel, events, worker)
            first_s = min(worker.deadline_s for worker in self._busy)
            for key, events in selector.select(max(0.0, first_s - time.monotonic())):
                heard.add(key.data)
                if events & selectors.EVENT_WRITE:
                    key.data.send()
                if events & selectors.EVENT_READ:
                    self._receive(key.data)
        now_s = time.monotonic()
        late = [one for one in self._busy if one.deadline_s <= now_s and one not in heard]
        for worker in late:
            self._lose(worker, Outcome(None, Reason.TIMEOUT, "took longer than the time limit"))

    def _receive(self, worker: Worker) -> None:
        try:
            outcome = worker.receive()
        except EOFError:
            self._lose(worker, None)
            return
        if outcome is None:
            return
        self._busy.pop(worker).outcome = outcome
        if worker.tasks < self._limits.max_tasks and outcome.reason != Reason.MEMORY:
            self._idle.append(worker)
        else:
            worker.end()

    def _lose(self, worker: Worker, outcome: Outcome | None) -> None:
        """Ends a worker; without an outcome, its exit code tells what became of it."""
        job = self._busy.pop(worker)
        code = worker.end()
        if outcome is None and code in _TIMERS:
            outcome = Outcome(None, Reason.TIMEOUT, "took longer than the time limit")
        detail = f"the parsing process ended with code {code}"
        job.outcome = outcome or Outcome(None, Reason.CRASHED, detail)

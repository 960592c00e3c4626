"""Runs a function on untrusted replays in worker processes that may die.

A damaged replay can make a native parser panic, abort, overflow its stack, hang or ask for all
memory. Here each of these costs one item, never the job: workers have a memory limit, no core
dumps, a time limit per item, an environment without secrets and an end after `max_tasks` items. The
result of each item is the function's value or a `ReplayError`.

Workers come from a fork server that has imported only the reader: a fresh worker costs
milliseconds, and neither TensorFlow nor the caller's `__main__` is ever imported in one. Threads
were dropped because peppi-py holds the GIL and takes the whole process with it; a process per file
because it costs more than parsing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import current_process, popen_forkserver, spawn
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from exphil_tf.process import scratch
from exphil_tf.process.parent import end_with_parent
from exphil_tf.replays.errors import Reason, ReplayError

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

TIMEOUT_S = 10.0
MEMORY_BYTES = 2 << 30
MAX_TASKS = 1000
_BACKSTOP_S = 10
"""A worker ends itself this long after its parent should have ended it."""
_PRELOAD = ["exphil_tf.replays.parse"]
_KEPT_VARIABLES = {
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "TZ",
    "PYTHONPATH",
    "PYTHONHASHSEED",
    "VIRTUAL_ENV",
}
"""Variables a parser may see; storage keys and tokens are none of its business."""


@dataclass(frozen=True)
class Limits:
    """What one item may cost.

    Attributes:
      timeout_s: wall-clock seconds per item.
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


@dataclass(frozen=True)
class _Outcome(Generic[_Value]):
    """What a worker sends back: a value, or a reason and detail as plain strings."""

    value: _Value | None
    reason: str = ""
    detail: str = ""


def _guarded(
    function: Callable[[_Item], _Value], item: _Item, *, backstop_s: int
) -> _Outcome[_Value]:
    """Runs in the worker: nothing that cannot be sent between processes leaves this function.

    Should the parent be killed while a parser hangs, the alarm ends the worker: SIGALRM's default
    action needs neither the interpreter nor the parent.
    """
    signal.alarm(backstop_s)
    try:
        return _Outcome(function(item))
    except ReplayError as error:
        return _Outcome(None, error.reason, error.detail)
    except MemoryError:
        return _Outcome(None, Reason.MEMORY, "the worker's memory limit")
    except BaseException as error:  # noqa: BLE001 - panics derive from BaseException
        panic = type(error).__name__ == "PanicException"
        reason = Reason.PARSER_PANIC if panic else Reason.INTERNAL
        text = " ".join(str(error).split())[:200]
        return _Outcome(None, reason, f"{type(error).__name__}: {text}")
    finally:
        signal.alarm(0)


def _start_worker(memory_bytes: int) -> None:
    """Runs first in every worker: limits, a scrubbed environment, a silent stderr (panics)."""
    end_with_parent()  # the fork server, which ends with the parent
    for name in set(os.environ) - _KEPT_VARIABLES:
        del os.environ[name]
    os.environ["RUST_BACKTRACE"] = "0"
    with contextlib.suppress(ImportError, ValueError, OSError):  # no `resource` on Windows
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with open(os.devnull, "wb") as sink:  # noqa: PTH123
        os.dup2(sink.fileno(), 2)


_launch_lock = threading.Lock()


@contextlib.contextmanager
def _without_main() -> Generator[None]:
    """Within, new processes of this thread are not told to import `__main__` (it may be heavy)."""
    mine = threading.get_ident()
    with _launch_lock:
        original = spawn.get_preparation_data

        def prepared(name: str) -> dict[str, Any]:
            data = original(name)
            if threading.get_ident() == mine:
                data = {
                    key: value for key, value in data.items() if not key.startswith("init_main")
                }
            return data

        spawn.get_preparation_data = prepared
        try:
            yield
        finally:
            spawn.get_preparation_data = original


class _Popen(popen_forkserver.Popen):
    def _launch(self, process_obj: Any) -> None:
        with _without_main():
            super()._launch(process_obj)  # type: ignore[misc] - private in typeshed


class _WorkerProcess(ForkServerProcess):
    """A process that is told nothing of the caller's `__main__`; pickled by this name."""

    def start(self) -> None:
        """Also from a daemonic process, such as a Dask worker: ours end with it anyway."""
        own = cast(dict[str, Any], cast(Any, current_process())._config)  # private
        daemonic = own.pop("daemon", None)
        try:
            super().start()
        finally:
            if daemonic is not None:
                own["daemon"] = daemonic

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's hook
        return _Popen(process_obj)


class _WorkerContext(ForkServerContext):
    Process = _WorkerProcess  # type: ignore[assignment]


def _context(module: str) -> Any:
    """Start processes from a fork server that has imported the reader and a function's module."""
    scratch.adopt()
    context = _WorkerContext()
    context.set_forkserver_preload([*_PRELOAD, *({module} - {"__main__", *_PRELOAD})])
    return context


class IsolatedPool:
    """Worker processes for functions of one item.

    Functions and items are pickled, so functions are module-level ones (not of `__main__`), items
    best paths or bytes. Use as a context manager, or call `close`. One thread at a time.

    Args:
      workers: number of processes.
      limits: see `Limits`.
      in_flight: items handed out ahead of the one awaited; 0 picks twice the workers.
    """

    def __init__(
        self, workers: int = 1, *, limits: Limits | None = None, in_flight: int = 0
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers: want at least 1. Received: workers={workers}")
        self._workers = workers
        self._limits = limits or Limits()
        self._in_flight = in_flight or 2 * workers
        self._pool: ProcessPool | None = None

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
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def call(self, function: Callable[[_Item], _Value], item: _Item) -> _Value | ReplayError:
        """The function's value for one item, or why there is none."""
        return next(self.map_ordered(function, [item]))

    def map_ordered(
        self, function: Callable[[_Item], _Value], items: Iterable[_Item]
    ) -> Iterator[_Value | ReplayError]:
        """The function's value for each item, or a `ReplayError`, in the items' order.

        At most `in_flight` items are taken from `items` ahead of the result that is waited for, so
        memory is bounded however long the input. Abandoning the iterator leaves the pool usable.
        """
        pending: deque[tuple[_Item, ProcessFuture[Any]]] = deque()
        try:
            for item in items:
                pending.append((item, self._schedule(function, item)))
                if len(pending) >= self._in_flight:
                    yield self._take(function, pending)
            while pending:
                yield self._take(function, pending)
        finally:
            for _, future in pending:
                future.cancel()

    def _schedule(self, function: Callable[[_Item], _Value], item: _Item) -> ProcessFuture[Any]:
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self._workers,
                max_tasks=self._limits.max_tasks,
                initializer=_start_worker,
                initargs=(self._limits.memory_bytes,),
                context=_context(function.__module__),
            )
        timeout_s = self._limits.timeout_s
        extra = {"backstop_s": int(timeout_s) + _BACKSTOP_S}
        return self._pool.schedule(_guarded, (function, item), extra, timeout=timeout_s)

    def _take(
        self, function: Callable[[_Item], _Value], pending: deque[tuple[_Item, ProcessFuture[Any]]]
    ) -> _Value | ReplayError:
        """The oldest result. A broken pool is replaced once, and its items handed out again."""
        item, future = pending.popleft()
        try:
            return _settle(future)
        except BrokenProcessPool:
            self.close()
        retry = self._schedule(function, item)
        waiting = [waited for waited, _ in pending]
        pending.clear()
        pending.extend((waited, self._schedule(function, waited)) for waited in waiting)
        try:
            return _settle(retry)
        except BrokenProcessPool:
            self.close()
            return ReplayError(Reason.CRASHED, "the worker pool broke twice on this file")


def _settle(future: ProcessFuture[Any]) -> Any:
    try:
        outcome: _Outcome[Any] = future.result()
    except FutureTimeoutError:
        return ReplayError(Reason.TIMEOUT, "took longer than the time limit")
    except ProcessExpired as error:
        return ReplayError(Reason.CRASHED, f"the parsing process ended with code {error.exitcode}")
    if outcome.reason:
        return ReplayError(Reason(outcome.reason), outcome.detail)
    return outcome.value

"""One process that may die, and the pipe to it: started, asked, watched and ended from outside.

Each worker has a socket of its own. A pool that shares one pipe and its locks among all workers (as
libraries do) loses the whole pool when a worker is killed while it holds a lock or has written half
a result; here such a worker's socket just ends. The parent never blocks on a worker: it reads and
writes what there is room for, since a stopped process may leave a message half sent for ever.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing import current_process, popen_forkserver, spawn
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, cast

from exphil_tf.process import scratch
from exphil_tf.process.parent import end_with_parent
from exphil_tf.replays.refusals import Reason, ReplayError

PRELOADED = ["exphil_tf.replays.parse"]
_LENGTH = struct.Struct("!Q")
_READ_BYTES = 1 << 20
_JOIN_S = 5.0
_LAUNCH_ATTEMPTS = 10
_loads = cast(Callable[[Any], Any], cast(Any, ForkingPickler).loads)
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


class Task(NamedTuple):
    """What a worker is asked to do.

    Attributes:
      function, item: the call.
      cpu_s: processor seconds after which the system ends the worker.
      backstop_s: wall-clock seconds after which it does so, even without a parent.
    """

    function: Callable[[Any], Any]
    item: Any
    cpu_s: float
    backstop_s: int


class Outcome(NamedTuple):
    """What a worker sends back: a value, or a reason and detail as plain strings."""

    value: Any = None
    reason: str = ""
    detail: str = ""


# -- In the worker ---------------------------------------------------------------------------------


def _serve(channel: socket.socket, memory_bytes: int) -> None:
    """Answers tasks until the parent hangs up."""
    _confine(memory_bytes)
    with channel, channel.makefile("rwb") as stream:
        while head := stream.read(_LENGTH.size):
            body = stream.read(_LENGTH.unpack(head)[0])
            stream.write(_message(_answer(body)))
            stream.flush()


def _confine(memory_bytes: int) -> None:
    """Limits, a scrubbed environment, a silent stderr (panics)."""
    end_with_parent()  # the fork server, which ends with the parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    for name in set(os.environ) - _KEPT_VARIABLES:
        del os.environ[name]
    os.environ["RUST_BACKTRACE"] = "0"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with open(os.devnull, "wb") as sink:  # noqa: PTH123
        os.dup2(sink.fileno(), 2)


def _answer(body: bytes) -> Outcome:
    task: Task = _loads(body)
    # Should a parser hang, the system ends the worker: the default actions of both signals need
    # neither the interpreter nor the parent. Processor time stands still while a worker is stopped
    # or starved, so a busy or sleeping machine costs no replay.
    signal.setitimer(signal.ITIMER_PROF, task.cpu_s)
    signal.alarm(task.backstop_s)
    try:
        return Outcome(task.function(task.item))
    except ReplayError as error:
        return Outcome(None, str(error.reason), error.detail)
    except MemoryError:
        return Outcome(None, str(Reason.MEMORY), "the worker's memory limit")
    except BaseException as error:  # panics derive from BaseException
        panic = type(error).__name__ == "PanicException"
        reason = Reason.PARSER_PANIC if panic else Reason.INTERNAL
        return Outcome(None, str(reason), _text(error))
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _message(content: Any) -> bytes:
    try:
        body = bytes(ForkingPickler.dumps(content))
    except MemoryError:
        body = bytes(ForkingPickler.dumps(Outcome(None, str(Reason.MEMORY), "the memory limit")))
    except Exception as error:  # a value that cannot be sent is a defect of ours
        body = bytes(ForkingPickler.dumps(Outcome(None, str(Reason.INTERNAL), _text(error))))
    return _LENGTH.pack(len(body)) + body


# -- In the parent ---------------------------------------------------------------------------------


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
    def _Popen(process_obj: Any) -> Any:  # multiprocessing's hook
        return _Popen(process_obj)


class _WorkerContext(ForkServerContext):
    Process = _WorkerProcess  # type: ignore[assignment]


def _launch(channel: socket.socket, *, memory_bytes: int, module: str) -> Any:
    """A process from a fork server that has imported the reader and a function's module.

    A fork server that was killed is noticed by `start` once the system has buried it, and another
    one takes its place; until then `start` fails.
    """
    scratch.adopt()
    context = _WorkerContext()
    context.set_forkserver_preload([*PRELOADED, *({module} - {"__main__", *PRELOADED})])
    for attempt in range(_LAUNCH_ATTEMPTS):
        with contextlib.suppress(OSError, EOFError):
            process = context.Process(target=_serve, args=(channel, memory_bytes), daemon=True)
            process.start()
            return process
        time.sleep(0.01 * 2**attempt)
    process = context.Process(target=_serve, args=(channel, memory_bytes), daemon=True)
    process.start()
    return process


class Worker:
    """A process that does one task at a time.

    Args:
      memory_bytes: its address space; 0 for no limit.
      module: of the functions it will be given, imported before it starts.

    Attributes:
      channel: to wait on.
      tasks: how many it was given.
      deadline_s: monotonic time at which the running task is given up.
    """

    def __init__(self, *, memory_bytes: int, module: str) -> None:
        self.channel, theirs = socket.socketpair()
        with theirs:
            self._process = _launch(theirs, memory_bytes=memory_bytes, module=module)
        self.channel.setblocking(False)
        self.tasks = 0
        self.deadline_s = 0.0
        self._inbox = bytearray()
        self._outbox = memoryview(b"")
        self._is_dead = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_sending(self) -> bool:
        """Whether a part of the task still has to be handed over."""
        return bool(self._outbox)

    def ask(self, task: Task, *, deadline_s: float) -> None:
        """Starts a task."""
        self.tasks += 1
        self.deadline_s = deadline_s
        self._inbox.clear()
        self._outbox = memoryview(_message(task))
        self.send()

    def send(self) -> None:
        """Hands over as much of the task as there is room for."""
        try:
            while self._outbox:
                self._outbox = self._outbox[self.channel.send(self._outbox) :]
        except BlockingIOError:
            return
        except OSError:  # it died: `receive` will tell
            self._outbox = memoryview(b"")

    def receive(self) -> Outcome | None:
        """The outcome, if it is all there.

        Raises:
          EOFError: if the worker died.
        """
        try:
            while part := self.channel.recv(_READ_BYTES):
                self._inbox += part
            self._is_dead = True
        except BlockingIOError:
            pass
        except OSError:
            self._is_dead = True
        if self._is_dead:
            raise EOFError
        body = memoryview(self._inbox)[_LENGTH.size :]
        if len(self._inbox) < _LENGTH.size or len(body) < _LENGTH.unpack_from(self._inbox)[0]:
            return None
        return _loads(body)

    def end(self) -> int | None:
        """Kills the process; its exit code (negative: the signal that ended it), None if unknown.

        One that died by itself is only waited for, to learn how. Any other is killed by its number:
        the process object takes it for dead when only the fork server is, and a stopped orphan
        would stay.
        """
        self.channel.close()
        if self._is_dead:
            self._process.join(_JOIN_S)
        if not self._is_dead or self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._process.join(_JOIN_S)
        return self._process.exitcode

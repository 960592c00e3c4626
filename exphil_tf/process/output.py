"""Standard output and error that can neither fail, nor block, nor stop the work.

What a command prints is for whoever reads it, and readers go away (`| head`), stop reading (a
pager, Ctrl-S), or write to a disk that is full. None of that is the work's business: text that
can't be delivered is dropped, and the command ends with the exit code of its work.

No thread is needed for it. Text goes out at once if the other side takes it, else it waits in a
bounded backlog for the next write. Only where a command's product is what it prints (a table) does
it wait for a slow reader, since nothing else is left to be done.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

BACKLOG_BYTES = 1 << 20
"""What waits for a slow reader; beyond it, whole writes are left out and counted."""
STALL_S = 10.0
"""How long the end of a command waits for a reader that takes nothing."""
_PATIENCE_S = 0.01
_PART_BYTES = 1 << 16
_GONE = (errno.EPIPE, errno.EBADF, errno.ENXIO, errno.ECONNRESET)


def open_standard_descriptors() -> None:
    """Gives descriptors 0 to 2 to the null device where they are closed (`>&-`).

    Otherwise the next file that is opened would get the number, and what a library prints with it.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)


class Channel:
    """Bytes to a descriptor, without ever waiting in `write` (unless it is patient) or raising.

    Args:
      descriptor: open for writing; it stays the caller's.
      is_patient: wait for a slow reader instead of leaving text out.
    """

    def __init__(self, descriptor: int, *, is_patient: bool = False):
        self.is_patient = is_patient
        self._lock = threading.RLock()
        self._backlog = bytearray()
        self._left_out = 0
        self._is_gone = False
        reopened = _reopened(descriptor)
        self._never_blocks = reopened is not None
        try:
            self._fd = os.dup(descriptor) if reopened is None else reopened
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)
        except OSError:
            self._is_gone = True

    def write(self, data: bytes) -> None:
        """Sends what can be sent now and keeps the rest, or drops it if too much is waiting."""
        with self._lock:
            self._push()
            if self._is_gone:
                return
            if not self.is_patient and len(self._backlog) + len(data) > BACKLOG_BYTES:
                self._left_out += data.count(b"\n")
                return
            self._backlog += self._note() + data
            self._push()
        while self.is_patient and len(self._backlog) > BACKLOG_BYTES:
            self._wait(None)

    def finish(self) -> None:
        """Waits for the backlog to be taken, but not for a reader that has stopped reading."""
        while self._backlog or self._left_out:
            with self._lock:
                self._backlog += self._note()
            if not self._wait(None if self.is_patient else STALL_S):
                return

    def _note(self) -> bytes:
        count, self._left_out = self._left_out, 0
        return f"({count} lines left out: nobody read them)\n".encode() if count else b""

    def _wait(self, limit_s: float | None) -> bool:
        """Whether the other side took something, or is gone, within the limit."""
        if not self._is_gone and not self._poll.poll(None if limit_s is None else limit_s * 1000):
            return False
        with self._lock:
            before = len(self._backlog)
            self._push()
            is_stuck = 0 < len(self._backlog) == before
        if is_stuck:
            time.sleep(_PATIENCE_S)
        return True

    def _push(self) -> None:
        while self._backlog and not self._is_gone and (sent := self._send()):
            del self._backlog[:sent]
        if self._is_gone:
            self._backlog.clear()

    def _send(self) -> int:
        """Bytes that need not be kept: those that were taken, and those that never will be."""
        # A ready pipe takes so many bytes without blocking.
        size = _PART_BYTES if self._never_blocks else select.PIPE_BUF
        data = bytes(self._backlog[:size])
        try:
            if not self._never_blocks and not self._poll.poll(0):
                return 0
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._is_gone = error.errno in _GONE
            return len(data)  # such as a full disk: later text may fit again


def _reopened(descriptor: int) -> int | None:
    """The same pipe or terminal under a descriptor that never blocks; None where there is no way.

    The flag on the given descriptor itself would also change it for the shell.
    """
    with contextlib.suppress(OSError):
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return os.open(f"/proc/self/fd/{descriptor}", flags)
    return None


class SafeText(io.TextIOBase):
    """A text stream that takes everything: what can't be encoded is escaped, errors are dropped.

    Args:
      wrapped: the stream in whose place it stands; None for one that was closed.
      channel: where text goes; None writes to `wrapped`.
    """

    def __init__(self, wrapped: TextIO | None, channel: Channel | None = None):
        super().__init__()
        self._wrapped = wrapped
        self._channel = channel

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the wrapped stream."""
        return getattr(self._wrapped, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How characters that the encoding lacks are written."""
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """Of the wrapped stream."""
        return getattr(self._wrapped, "buffer", None)

    def write(self, text: str, /) -> int:
        """Takes a text; never raises for it."""
        data = text.encode(self.encoding, self.errors)
        if self._channel is not None:
            self._channel.write(data)
        elif self._wrapped is not None:
            with contextlib.suppress(OSError, ValueError):
                self._wrapped.write(data.decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flushes the wrapped stream; a channel keeps nothing that could be sent."""
        if self._channel is None and self._wrapped is not None:
            with contextlib.suppress(OSError, ValueError):
                self._wrapped.flush()

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return bool(self._wrapped and self._wrapped.isatty())
        return False

    def fileno(self) -> int:
        """Of the wrapped stream."""
        if self._wrapped is None:
            raise io.UnsupportedOperation("fileno")
        return self._wrapped.fileno()

    def reconfigure(self, **options: Any) -> None:
        """Accepted for libraries that ask for line buffering; there is no buffer here."""

    def close(self) -> None:
        """Nothing: standard streams stay open."""


_stderr: Channel | None = None


def say(sentence: str) -> None:
    """A line on standard error from a signal handler or a watching thread.

    Past everything that the main thread may be in: logging's locks, buffers, `quiet_import`.
    """
    channel = _stderr or Channel(2)
    channel.write(sentence.encode("utf-8", "backslashreplace") + b"\n")


@contextlib.contextmanager
def guarded(*, is_patient: bool = False) -> Iterator[None]:
    """Within, `sys.stdout` and `sys.stderr` take everything; at the end, what waits is sent.

    Those of the process stay so, as libraries still print while the interpreter ends.

    Args:
      is_patient: wait for a slow reader of stdout, for a command whose product is printed.
    """
    global _stderr  # noqa: PLW0603 - there is one per process
    open_standard_descriptors()
    before = sys.stdout, sys.stderr
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    is_ours = [
        one is None or one is real
        for one, real in zip(before, (sys.__stdout__, sys.__stderr__), strict=True)
    ]
    out = Channel(1, is_patient=is_patient) if is_ours[0] else None
    error = Channel(2) if is_ours[1] else None
    _stderr = error or _stderr
    sys.stdout, sys.stderr = SafeText(before[0], out), SafeText(before[1], error)
    try:
        yield
    finally:
        for channel in (out, error):
            if channel is not None:
                channel.finish()
        for stream, name, ours in zip(before, ("stdout", "stderr"), is_ours, strict=True):
            if not ours:
                setattr(sys, name, stream)

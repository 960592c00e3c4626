"""SIGINT, SIGTERM and SIGHUP as a wish that the loop grants after its step, with a deadline.

A signal's Python handler runs only between bytecodes, and the main thread can sit in a compilation
for minutes. So the C-level handler's wake-up pipe is watched by a thread: the first signal starts
a deadline after which the process ends with the exit code that means "resume me" (the last
checkpoint stands, nothing is lost but time), the second signal ends it at once.
"""

import contextlib
import os
import signal
import socket
import threading
from types import FrameType, TracebackType

from exphil_tf.process import output, signals
from exphil_tf.process.exit_codes import EXIT_INTERRUPTED

DEADLINE_S = signals.DEADLINE_S


class Interrupts:
    """Context that turns SIGINT, SIGTERM and SIGHUP into `requested`. Only for the main thread."""

    def __init__(self, deadline_s: float = DEADLINE_S):
        self.deadline_s = deadline_s
        self.requested = False
        """Whether a signal has asked the loop to stop."""
        self._received = 0
        self._previous: dict[int, object] = {}
        self._reader, self._writer = socket.socketpair()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)

    def __enter__(self) -> "Interrupts":
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in signals.heeded():
            self._previous[number] = signal.signal(number, self._on_signal)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup)
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")  # wakes the watcher up
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def _watch(self) -> None:
        while not self._done.is_set():
            numbers = self._reader.recv(64)
            for number in numbers:
                if number not in self._previous:
                    continue
                self._received += 1
                self.requested = True
                if self._received == 1:
                    output.say("stopping after this step; a second signal stops at once")
                    timer = threading.Timer(self.deadline_s, self._expire)
                    timer.daemon = True
                    timer.start()
                else:
                    _leave("stopped at once; the last checkpoint stands")

    def _expire(self) -> None:
        if not self._done.is_set():
            _leave(f"still busy {self.deadline_s:.0f} s later; the last checkpoint stands")


def _leave(sentence: str) -> None:
    output.say(f"{sentence}. Go on with --resume auto")
    os._exit(EXIT_INTERRUPTED)

"""SIGINT, SIGTERM and SIGHUP, from the first import on: a line, a documented exit code, no mess.

Before a command works there is nothing to undo, and a signal ends the process at once. Then it
becomes `KeyboardInterrupt`, so that the work takes its temporary files away; if that has not ended
the process by a deadline, or with the second signal, it ends where it stands. Training has a way of
its own (`training.interrupts`): it saves first.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from exphil_tf.process import output
from exphil_tf.process.exit_codes import EXIT_ABORTED, EXIT_INTERRUPTED

DEADLINE_S = 25.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asks the work to end.

    A class of its own, since Python ends itself with SIGINT at exit if a plain `KeyboardInterrupt`
    has ever left the `exec` of a string, as it may while dataclasses are being made.
    """


class _State:
    """Of this process."""

    is_working = False
    code: int | None = None
    """Of a command that has ended; what is left is the interpreter's to do."""
    received: list[int] = []


def heeded() -> list[signal.Signals]:
    """The signals to react to: not SIGHUP under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [one for one in SIGNALS if not (ignored and one is signal.SIGHUP)]


def exit_code(number: int) -> int:
    """130 for Ctrl-C: a person wants out. 75 for the others: a machine went away, start again."""
    return EXIT_ABORTED if number == signal.SIGINT else EXIT_INTERRUPTED


def received() -> int | None:
    """The first signal that this command received."""
    return _State.received[0] if _State.received else None


def install() -> None:
    """Reacts to signals from now on; for the first moment of a command."""
    for number in heeded():
        signal.signal(number, _on_signal)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within, a signal is `KeyboardInterrupt` in the main thread; without effect in others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in heeded()}
    _State.received, _State.code = [], None
    _State.is_working = True
    install()
    try:
        yield
    finally:
        _State.is_working = False
        for number, handler in before.items():
            signal.signal(number, handler)


def ended(code: int) -> None:
    """From now on a signal changes nothing about how this process ends: it only ends it sooner."""
    _State.code = code
    # Python gives its handlers back to the system while it ends, but leaves what is ignored alone.
    atexit.register(_ignore)


def _ignore() -> None:
    for number in heeded():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _State.code is not None:
        os._exit(_State.code)
    _State.received.append(number)
    if not _State.is_working:
        _leave(number, "interrupted with nothing half-written; run the same command again")
    if len(_State.received) > 1:
        _leave(number, "stopped at once; run the same command again")
    timer = threading.Timer(DEADLINE_S, _leave, (number, "still busy; stopped where it stood"))
    timer.daemon = True
    timer.start()
    raise Interrupted


def _leave(number: int, sentence: str) -> None:
    output.say(f"error: {signal.Signals(number).name}: {sentence}")
    os._exit(exit_code(number))

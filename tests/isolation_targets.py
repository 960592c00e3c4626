"""Functions for worker processes; in a module of their own because a worker imports them by
name."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from exphil_tf.replays.isolation import IsolatedPool
from exphil_tf.replays.refusals import Reason, ReplayError


class PanicException(BaseException):
    """Like peppi-py's: neither an Exception nor anything a pickle could carry."""

    def __reduce__(self) -> tuple:
        raise TypeError("a panic cannot be pickled")


def double(value: int) -> int:
    return 2 * value


def double_in_a_pool(value: int) -> int:
    """What a pipeline's daemonic worker does."""
    with IsolatedPool(1) as pool:
        return pool.call(double, value)


def slow_then_fast(index: int) -> int:
    """Early items take longest, so unordered results would show."""
    time.sleep(0.05 if index < 2 else 0)
    return index


def modules(_: object) -> list[str]:
    return [
        name
        for name in ("tensorflow", "keras", "apache_beam", "melee", "pytest")
        if name in sys.modules
    ]


def environment(_: object) -> list[str]:
    return sorted(os.environ)


def identity(_: object) -> int:
    return os.getpid()


def _raise(error: BaseException) -> None:
    raise error


_DEEDS = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), 9),
    "hang": lambda: time.sleep(1000),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "spin": lambda: spin(1000),
    "memory": lambda: bytearray(8 << 30),
    "panic": lambda: _raise(PanicException("index out of bounds")),
    "system_exit": lambda: sys.exit(4),
    "value_error": lambda: _raise(ValueError("a defect of ours")),
    "rejected": lambda: _raise(ReplayError(Reason.NO_FRAMES, "not one whole frame")),
}


def misbehave(kind: str) -> str:
    """Does the deed, or returns `kind` if there is none."""
    _DEEDS.get(kind, lambda: None)()
    return kind


def announce_and_hang(path: str) -> None:
    """Writes the worker's process id, then hangs for a minute."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def once(deed: str, marker: Path) -> bool:
    """Does a deed if nobody left the marker yet; whether it was left."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return True
    _DEEDS[deed]()
    return False


def die_once(item: tuple[str, str]) -> bool:
    """Does the deed at the first call with this marker only."""
    deed, marker = item
    return once(deed, Path(marker))


def note_times(item: tuple[str, bool]) -> None:
    """Appends start and end to a file; the flagged item dies at its first call."""
    path, dies = item
    began_s = time.monotonic()
    time.sleep(0.1)
    if dies:
        once("kill", Path(f"{path}.died"))
    with Path(path).open("a") as file:
        file.write(f"{began_s} {time.monotonic()} {int(dies)}\n")


def large_result(index: int) -> tuple[int, bytes]:
    """More than any pipe holds, so a worker that is killed has often sent a part of it."""
    return index, bytes(3 << 20)


def spin(seconds: float) -> None:
    """Computes for some processor time."""
    while time.process_time() < seconds:
        pass

"""Functions for worker processes; in a module of their own because a worker imports them by name."""

import ctypes
import os
import sys
import time

from exphil_tf.replays.errors import Reason, ReplayError


class PanicException(BaseException):
    """Like peppi-py's: neither an Exception nor anything a pickle could carry."""

    def __reduce__(self) -> tuple:
        raise TypeError("a panic cannot be pickled")


def double(value: int) -> int:
    return 2 * value


def slow_then_fast(index: int) -> int:
    """Early items take longest, so unordered results would show."""
    time.sleep(0.05 if index < 2 else 0)
    return index


def modules(_: object) -> list[str]:
    return [name for name in ("tensorflow", "keras", "apache_beam", "melee", "pytest") if name in sys.modules]


def environment(_: object) -> list[str]:
    return sorted(os.environ)


def identity(_: object) -> int:
    return os.getpid()


def misbehave(kind: str) -> str:
    match kind:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), 9)
        case "hang":
            time.sleep(1000)
        case "memory":
            bytearray(8 << 30)
        case "panic":
            raise PanicException("index out of bounds")
        case "system_exit":
            sys.exit(4)
        case "value_error":
            raise ValueError("a defect of ours")
        case "rejected":
            raise ReplayError(Reason.NO_FRAMES, "not one whole frame")
    return kind

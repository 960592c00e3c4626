"""How much memory a piece of work takes at its peak."""

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc/self")
_RESET_PEAK = "5"
"""What `clear_refs` takes for setting the peak to the present size (Linux 4.0)."""


def peak_bytes(work: Callable[[], object]) -> float:
    """Bytes that `work` adds to the process at its peak; NaN where the system does not tell.

    Work that compiles itself should have run before, or its compiler's memory is counted too.
    """
    gc.collect()
    _give_back()
    try:
        (_PROC / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        before = _status("VmRSS")
        work()
        return _status("VmHWM") - before
    except (OSError, KeyError):
        return float("nan")


def _give_back() -> None:
    """What was freed goes back to the system, so that using it again is seen (glibc only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(name: str) -> float:
    text = (_PROC / "status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in text.splitlines())
    return 1024.0 * int(values[name].split()[0])

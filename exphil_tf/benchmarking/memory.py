"""How much memory a piece of work takes at its peak, in this process."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc/self")
_RESET_PEAK = "5"
"""What `clear_refs` takes for setting the peak to the present size (Linux 4.0)."""


def peak_bytes(work: Callable[[], object]) -> float:
    """Bytes that `work` adds to the process at its peak; NaN where the system does not tell.

    Call it once before, so that what is compiled and cached is not counted.
    """
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # or freed memory would be used again, unseen
        (_PROC / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        before = _status("VmRSS")
        work()
        return _status("VmHWM") - before
    except (OSError, AttributeError, KeyError):
        return float("nan")


def _status(name: str) -> float:
    text = (_PROC / "status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in text.splitlines())
    return 1024.0 * int(values[name].split()[0])

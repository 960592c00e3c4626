"""How much memory a piece of work takes at its peak."""

import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

_PROC = Path("/proc/self")
_RESET_PEAK = "5"
"""What `clear_refs` takes for setting the peak to the present size (Linux 4.0)."""


def peak_bytes_apart(make: Callable[..., Callable[[], object]], *arguments: Any) -> float:
    """As `peak_bytes` of `make(*arguments)`, in a process of its own.

    TensorFlow keeps what it once had, so only the first work in a process shows what it takes.

    Args:
      make: a module's function that returns the work, which it must not do yet.
      arguments: of `make`.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_made_and_measured, make, arguments).result()


def _made_and_measured(make: Callable[..., Callable[[], object]], arguments: tuple) -> float:
    return peak_bytes(make(*arguments))


def peak_bytes(work: Callable[[], object]) -> float:
    """Bytes that `work` adds to the process at its peak; NaN where the system does not tell."""
    gc.collect()
    try:
        (_PROC / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        before = _status("VmRSS")
        work()
        return _status("VmHWM") - before
    except (OSError, KeyError):
        return float("nan")


def _status(name: str) -> float:
    text = (_PROC / "status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in text.splitlines())
    return 1024.0 * int(values[name].split()[0])

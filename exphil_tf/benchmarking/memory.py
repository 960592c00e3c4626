"""How much memory a piece of work takes at its peak."""

import contextlib
import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

_PROC = Path("/proc/self")
_RESET_PEAK = "5"
"""What `clear_refs` takes for setting the peak to the present size (Linux 4.0)."""

Work = Callable[[], object]


def peak_bytes_apart(make: Callable[..., Work], *arguments: Any) -> float:
    """Bytes that a second call of the work adds to what the process had before the first.

    So a compiler's memory does not count, and what TensorFlow keeps of its buffers does. As it
    keeps them for whatever comes next, the work runs in a process of its own, which is forked from
    one that has imported the module of `make` and nothing more.

    Args:
      make: a module's function that returns the work, which it must not do yet.
      arguments: of `make`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([make.__module__])
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_made_and_measured, make, arguments).result()


def _made_and_measured(make: Callable[..., Work], arguments: tuple) -> float:
    return peak_bytes(make(*arguments), compiles=True)


def peak_bytes(work: Work, *, compiles: bool = False) -> float:
    """Bytes that `work` adds to the process at its peak; NaN where the system does not tell.

    Args:
      work: what is done.
      compiles: whether its first call compiles it, so that the second one counts.
    """
    _give_back()
    try:
        before = _status("VmRSS")
        if compiles:
            work()
            _give_back()
        (_PROC / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        work()
        return _status("VmHWM") - before
    except (OSError, KeyError):
        return float("nan")


def _give_back() -> None:
    """What was freed goes back to the system, so that using it again is seen (glibc only)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(name: str) -> float:
    text = (_PROC / "status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in text.splitlines())
    return 1024.0 * int(values[name].split()[0])

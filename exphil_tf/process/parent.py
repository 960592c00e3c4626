"""Children that end with their parent, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int | None = None) -> None:
    """Lets the kernel kill this process when the one that forked it has ended (Linux only).

    What counts is the thread that forked: it must live as long as its process.

    Args:
      parent: its process id; None for the present one, if it can't have ended yet.
    """
    parent = os.getppid() if parent is None else parent
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it ended just before

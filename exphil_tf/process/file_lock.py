"""Locks that end with the process that holds them: `flock` on an open file or folder.

A dead process gives such a lock back by dying, so no stale lock file ever has to be deleted, and
whatever is found unlocked belongs to nobody. A folder can be locked as it stands, without a file
in it; that is why no library does it here (`filelock` locks files of its own).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def try_lock(descriptor: int) -> bool:
    """Whether an open file or folder could be locked; never where the file system has no locks.

    The lock ends when the descriptor, and all that a fork made of it, are closed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a file or folder for this process; a file that is missing is made.

    Raises:
      BlockingIOError: if another process holds it.
      OSError: if it can't be opened, or the file system has no locks.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)

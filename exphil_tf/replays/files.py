"""Opening what somebody else's disk holds: never a pipe or device, and with a reason when refused.

Links are followed (replay drives are full of them); what counts is the opened descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from exphil_tf.replays.refusals import Reason, ReplayError

_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)


def open_regular(path: Path | str) -> BinaryIO:
    """A regular file for reading; opening never blocks.

    Raises:
      ReplayError: not_a_file or unreadable.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise open_error(error) from error
    except ValueError as error:  # a NUL in the name
        raise ReplayError(Reason.NOT_A_FILE, str(error)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = stat.filemode(mode)[0]
            raise ReplayError(Reason.NOT_A_FILE, f"want a regular file, this is of type {kind!r}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_error(error: OSError) -> ReplayError:
    """Why something could not be opened."""
    reason = Reason.NOT_A_FILE if error.errno in _GONE else Reason.UNREADABLE
    return ReplayError(reason, errno_name(error))


def errno_name(error: OSError) -> str:
    """`EACCES` and the like: short, and free of paths."""
    return errno.errorcode.get(error.errno or 0, "unknown")

"""How a command ends: one sentence for the user and a documented exit code.

Libraries raise `UserError` where the user can put something right, or let `OSError` pass; a
command's `main(argv)` is wrapped in `run`, the one place that turns either into a line on stderr.
The exit codes are those of sysexits.h where one fits, so that scripts and schedulers can tell "run
it again" (75) from "it will never work" (2, 65, 66, 78).
"""

from __future__ import annotations

import contextlib
import errno
import os
import reprlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

EXIT_OK = 0
EXIT_USAGE = 2  # a flag, a configuration, a combination of them
EXIT_DATA = 65  # input is there but damaged or of the wrong kind
EXIT_NO_INPUT = 66  # a file or folder is missing
EXIT_INTERNAL = 70  # a defect of this program
EXIT_CANNOT_CREATE = 73  # output exists, is locked or may not be written
EXIT_IO = 74  # reading or writing failed, disk full
EXIT_INTERRUPTED = 75  # interrupted after a checkpoint was saved: run again with --resume auto
EXIT_INCOMPATIBLE = 78  # an artefact of another schema or version
EXIT_ABORTED = 130  # interrupted by Ctrl-C with nothing to resume

_FREE_SPACE = "Free some space and run the same command again"


class UserError(Exception):
    """Something the user can put right: one sentence on what is wrong, one on what to do next.

    Args:
      message: what is wrong, with the path, what is wanted and what was received.
      next_step: what to do about it, or empty if the message says so.
      exit_code: one of the `EXIT_*` codes.
    """

    def __init__(self, message: str, next_step: str = "", *, exit_code: int = EXIT_USAGE):
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code

    def __str__(self) -> str:
        message = self.message.rstrip()
        if not self.next_step:
            return message
        return f"{message}{'' if message.endswith(('.', '?', '!')) else '.'} {self.next_step}"


def shown(value: object, length: int = 60) -> str:
    """A value as a message shows it: its `repr`, or the beginning of a long one.

    A whole value may be a file's worth of text, and its `repr` may take longer than anything else.
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= length else f"{value[:length]!r}… ({len(value)} long)"
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def run(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a command's `main(argv)` and exits: 0 or its code, or one line on stderr and a code."""
    try:
        code = main(list(sys.argv[1:] if argv is None else argv)) or EXIT_OK
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not our failure, nothing to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OK)
    except KeyboardInterrupt:
        sentence = "interrupted; nothing was left half-written, so run the same command again"
        _fail(sentence, EXIT_ABORTED)
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            traceback.print_exc()
            what = (
                f"internal: {type(error).__name__}: {error} (a defect of this program; see above)"
            )
            explained = (what, EXIT_INTERNAL)
        _fail(*explained)
    sys.exit(code)


def _fail(sentence: str, exit_code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        print(f"error: {' '.join(sentence.split())}", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(exit_code)


def _explain(error: BaseException) -> tuple[str, int] | None:
    """Sentence and exit code, or None for a defect.

    Beam, TensorFlow and process pools wrap what was raised inside them, so the causes count too.
    """
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, UserError):
            return str(current), current.exit_code
        if isinstance(current, OSError):
            return _explain_os_error(current)
        if isinstance(current, MemoryError):
            return "out of memory; choose a smaller --batch-size or fewer processes", EXIT_INTERNAL
        if os.strerror(errno.ENOSPC) in str(current):  # TensorFlow's own error classes
            return f"{os.strerror(errno.ENOSPC)}. {_FREE_SPACE}", EXIT_IO
        current = current.__cause__
    return None


def _explain_os_error(error: OSError) -> tuple[str, int]:
    where = f"{error.filename}: " if error.filename else ""
    reason = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}. {_FREE_SPACE}", EXIT_IO
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{reason}. Check the path", EXIT_NO_INPUT
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR):
        return f"{reason}. Check the path and its permissions", EXIT_CANNOT_CREATE
    return reason, EXIT_IO

"""How a command ends: one sentence for the user and a documented exit code.

Libraries raise `UserError` where the user can put something right, or let `OSError` pass; a
command's `main(argv)` is wrapped in `run`, the one place that turns either into a line on stderr.
The exit codes are those of sysexits.h where one fits, so that scripts and schedulers can tell "run
it again" (75) from "it will never work" (2, 65, 66, 78).
"""

from __future__ import annotations

import errno
import os
import re
import reprlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from exphil_tf.process import output, scratch, signals
from exphil_tf.process.exit_codes import (
    EXIT_ABORTED,
    EXIT_CANNOT_CREATE,
    EXIT_INTERNAL,
    EXIT_IO,
    EXIT_NO_INPUT,
    EXIT_OK,
    EXIT_USAGE,
)

_SENTENCES = {
    errno.ENOSPC: "Free some space and run the same command again",
    errno.EDQUOT: "Free some of your quota and run the same command again",
    errno.EFBIG: "Raise the limit on file size (ulimit -f) or the file system's",
    errno.EIO: "Check the disk and run the same command again",
    errno.EMFILE: "Raise the limit on open files (ulimit -n)",
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "Check the path: a part of it is a file",
    errno.EEXIST: "A file is there already: choose another path",
    errno.EISDIR: "A folder is there already: choose another path",
}
_CREATE = "Check the path and its permissions"
_NOT_CREATED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY)
_NUMBER = re.compile(r"\[Errno (\d+)\]|os error (\d+)|\bcode: (\d+)|\berrno = (\d+)")
_BY_TEXT = {
    os.strerror(code): code
    for code in (*_SENTENCES, *_NOT_CREATED, errno.ESTALE, errno.ENODEV, errno.ENAMETOOLONG)
}
_TEXT = re.compile(r"(?:^|(?P<path>/[^;\n]*); |\W)(?P<text>" + "|".join(_BY_TEXT) + r")\b")


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


def run(
    main: Callable[[list[str]], int | None],
    argv: Sequence[str] | None = None,
    *,
    is_product: bool = False,
) -> NoReturn:
    """Runs a command's `main(argv)` and exits: 0 or its code, or one line on stderr and a code.

    Nothing that happens to what it prints changes how it ends.

    Args:
      main: the command.
      argv: its arguments; those of the process if None.
      is_product: whether what it prints is what it is for, so that a slow reader is waited for.
    """
    with output.guarded(is_patient=is_product):
        try:
            with scratch.held(), signals.handled():
                code = main(list(sys.argv[1:] if argv is None else argv)) or EXIT_OK
        except KeyboardInterrupt:
            code = _interrupted()
        except Exception as error:
            code = _interrupted() if signals.received() else _fail(error)
        signals.ended(code)
    sys.exit(code)


def _interrupted() -> int:
    _say("interrupted; nothing was left half-written, so run the same command again")
    number = signals.received()
    return EXIT_ABORTED if number is None else signals.exit_code(number)


def _fail(error: Exception) -> int:
    explained = _explain(error)
    if explained is None:
        traceback.print_exc()
        what = f"internal: {type(error).__name__}: {error} (a defect of this program; see above)"
        explained = (what, EXIT_INTERNAL)
    _say(explained[0])
    return explained[1]


def remark(sentence: str) -> None:
    """A note on standard error: something is not what it was asked to be, and the work goes on."""
    print(f"note: {' '.join(sentence.split())}", file=sys.stderr, flush=True)  # noqa: T201


def _say(sentence: str) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr, flush=True)  # noqa: T201


def _explain(error: BaseException) -> tuple[str, int] | None:
    """Sentence and exit code, or None for a defect.

    Beam, TensorFlow and process pools wrap what was raised inside them, so the causes count too.
    """
    current: BaseException | None = error
    while current is not None:
        explained = _explain_one(current)
        if explained is not None:
            return explained
        current = current.__cause__
    return None


def _explain_one(error: BaseException) -> tuple[str, int] | None:
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, (ConnectionError, EOFError)):
        what = f"a process that works for this one has ended ({type(error).__name__})"
        return f"{what}. Run the same command again", EXIT_IO
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return "out of memory; choose a smaller --batch-size or fewer processes", EXIT_INTERNAL
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        name = ascii(error.object)[:100]
        return f"{name}: a name that is not valid UTF-8. Rename it", EXIT_USAGE
    return _explain_text(str(error))


def _is_out_of_memory(error: BaseException) -> bool:
    return type(error).__name__ == "ResourceExhaustedError" and "OOM" in str(error)


def _explain_text(text: str) -> tuple[str, int] | None:
    """What the system said, out of the text of a library's own error class."""
    number, said = _NUMBER.search(text), _TEXT.search(text)
    if said is not None:
        code, path = _BY_TEXT[said["text"]], said["path"]
    elif number is not None:
        code, path = int(number[number.lastindex or 0]), None
    else:
        return None
    if code not in errno.errorcode:
        return None
    return _explain_os_error(OSError(code, os.strerror(code), path))


def _explain_os_error(error: OSError) -> tuple[str, int]:
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    reason = f"{where}{error.strerror or error}"
    code = error.errno
    if code in _NOT_CREATED:
        return f"{reason}. {_SENTENCES.get(code, _CREATE)}", EXIT_CANNOT_CREATE
    advice = _SENTENCES.get(code) if code is not None else None
    exit_code = EXIT_NO_INPUT if code in (errno.ENOENT, errno.ENOTDIR) else EXIT_IO
    return (f"{reason}. {advice}" if advice else reason), exit_code

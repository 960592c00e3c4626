"""One folder for everything temporary of a process, and nothing left of those that were killed.

Libraries put files, sockets and semaphores wherever the system keeps such things, and a killed
process cannot take them away. So a command gives them one place with one name, which it holds a
lock on; the lock ends with the process, however that ends, and the next command sweeps the places
that nobody holds.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing.process
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from exphil_tf.process.file_lock import try_lock

_SEMAPHORES = Path("/dev/shm")  # where Linux keeps named ones
_SOCKET_PATH = 107
"""Longest path of a socket, bytes; one is made in the folder under a name of 17."""
_TRIES = 8


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within, temporary files of this process and its children lie in one folder of its own.

    Where none can be made (a full disk), they go where they always went.
    """
    base = _base()
    before = tempfile.tempdir, os.environ.get("TMPDIR"), dict(_config())
    lock = None if base is None else _swept_and_claimed(base)
    if lock is None:
        yield
        return
    folder, descriptor = lock
    try:
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        adopt()
        yield
    finally:
        tempfile.tempdir = before[0]
        _restore("TMPDIR", before[1])
        for name in ("tempdir", "semprefix"):
            _config().pop(name, None)
        _config().update(before[2])
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def adopt() -> None:
    """Names this process's sockets and semaphores after its folder, if it has one.

    A child that was started by other means than multiprocessing finds the folder in TMPDIR.
    """
    folder = Path(os.environ.get("TMPDIR", ""))
    if folder.name.startswith(_prefix()) and folder.is_dir():
        _config()["tempdir"] = str(folder)
        _config()["semprefix"] = f"/{folder.name}"


def sweep(base: Path) -> list[Path]:
    """Removes the folders of dead processes, with their semaphores; returns those folders."""
    swept = []
    for folder in base.glob(f"{_prefix()}*"):
        with contextlib.suppress(OSError):
            descriptor = _locked(folder)
            if descriptor is None:
                continue
            for semaphore in _SEMAPHORES.glob(f"sem.{folder.name}-*"):
                semaphore.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
            swept.append(folder)
    return swept


def _prefix() -> str:
    return f"exphil-{os.getuid()}-"


def _base() -> Path | None:
    """The system's folder for temporary files; a short one if sockets would not fit."""
    try:
        base = Path(tempfile.gettempdir())
    except OSError:
        return None
    if base.name.startswith(_prefix()):
        base = base.parent  # a command within a command
    if len(os.fsencode(base)) + len(_prefix()) + 30 > _SOCKET_PATH:
        return Path("/tmp")
    return base


def _swept_and_claimed(base: Path) -> tuple[Path, int] | None:
    with contextlib.suppress(OSError):
        sweep(base)
        return claim(base)
    return None


def claim(base: Path) -> tuple[Path, int]:
    """A new folder that `sweep` leaves alone, and the descriptor that locks it until it is closed.

    Raises: OSError: if none can be made or locked.
    """
    for _ in range(_TRIES):  # somebody who sweeps may be faster with the lock
        folder = base / f"{_prefix()}{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        descriptor = _locked(folder)
        if descriptor is not None:
            return folder, descriptor
        shutil.rmtree(folder, ignore_errors=True)
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(base))


def _locked(folder: Path) -> int | None:
    """A descriptor that locks a folder; None if another has it, or has taken it away."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):
        if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    os.close(descriptor)
    return None


def _config() -> dict[str, Any]:
    """Multiprocessing's private settings of this process; they have no public place."""
    return cast(dict[str, Any], cast(Any, multiprocessing.process.current_process())._config)


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value

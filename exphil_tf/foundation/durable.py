"""Files that are complete or absent, whatever happens while they are written.

Temporary name in the same folder → write → flush → fsync → replace → fsync of the folder. What a
killed process leaves behind begins with `TEMPORARY`; whoever owns the folder sweeps it, and so does
whoever writes the same file next: the lock that a writer holds on its temporary ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

TEMPORARY = ".tmp-"
"""Prefix of everything that is not finished."""


class Written(NamedTuple):
    """A finished file."""

    path: str
    sha256: str
    bytes: int


def write_file(path: Path, parts: Iterable[bytes]) -> Written:
    """Writes a file whole or not at all.

    Args:
      path: its final name; an existing file is replaced.
      parts: the bytes, in order.

    Raises:
      OSError: as the system does (disk full…); the file of that name is then as before.
    """
    sweep_beside(path)
    with naming(path):
        temporary, opened = _create(path)
    digest, size = hashlib.sha256(), 0
    try:
        with naming(path), opened as file:
            for part in parts:
                digest.update(part)
                size += len(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)
    return Written(path.name, digest.hexdigest(), size)


def _create(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary and its locked file; another name if somebody swept it before the lock."""
    while True:
        temporary = temporary_name(path)
        file = temporary.open("xb")
        _try_lock(file.fileno())
        if temporary.exists():
            return temporary, file
        file.close()


def fsync(path: Path) -> None:
    """Makes a file's bytes, or a folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A name for what will be `path` once it is finished."""
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system say no name, or a temporary one; within, they say this one."""
    try:
        yield
    except OSError as error:
        name = error.filename
        is_temporary = isinstance(name, str) and Path(name).name.startswith(
            f"{TEMPORARY}{path.name}"
        )
        if error.errno is not None and (name is None or is_temporary):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Within, `sweep_beside` of another process leaves this temporary folder alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _try_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def sweep_beside(path: Path) -> None:
    """Removes temporaries of `path` that a killed process left; those being written stay."""
    for leftover in path.parent.glob(f"{TEMPORARY}{_literal(path.name)}-" + "[0-9a-f]" * 8):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _try_lock(descriptor):
                    _remove(leftover)
            finally:
                os.close(descriptor)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    """Whether the lock could be had; not where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

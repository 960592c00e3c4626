"""Files that are complete or absent, whatever happens while they are written.

Temporary name in the same folder → write → flush → fsync → replace → fsync of the folder. What a
killed process leaves behind begins with `TEMPORARY`; whoever owns the folder sweeps it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

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
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    digest, size = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as file:
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


def fsync(path: Path) -> None:
    """Makes a file's bytes, or a folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

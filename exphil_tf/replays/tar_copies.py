"""Compressed tars: their replays are copied once, in one pass, into a file that can be sought in.

A `.tar.gz` can be read from its beginning only, and games are read in another order than they lie
there, by several processes. Reading each from the beginning would take hours; a decompressor kept
at the right place by each process, as long again per process. So listing such an archive writes its
replays one after another into a temporary file, packed again (about as large as the archive), and
sources point there, as if it were a zip. Nothing is written under a member's name.

The files lie in a folder of this process in the system's temporary folder (`TMPDIR`). It is removed
when the process ends, and when it was killed, by the next process that looks for replays: a folder
in use is locked by its owner. Other machines don't have the file; a source read there is refused.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import filelock
import zstandard

from exphil_tf.replays.decompression import ZSTD
from exphil_tf.replays.listing import Source

PREFIX = "exphil-copies-"
_LOCK = "lock"
_KEPT_FREE_BYTES = 256 << 20
_SETTLED_S = 60
"""A folder is locked right after it was made; a younger one is left alone."""
_HEADER = struct.Struct("<4sHHHHHIIIHH")


class _Folder(NamedTuple):
    path: Path
    lock: filelock.BaseFileLock
    process: int


_folders: list[_Folder] = []
"""This process's own, once it has one."""


def _folder() -> Path:
    own = [folder.path for folder in _folders if folder.process == os.getpid()]
    if own:
        return own[0]
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = _lock(path)
    _folders.append(_Folder(path, lock, os.getpid()))
    atexit.register(release)
    return path


def release() -> None:
    """Removes this process's copies; sources that point there can't be read any more."""
    for folder in [folder for folder in _folders if folder.process == os.getpid()]:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.lock.release()
        _folders.remove(folder)


def sweep() -> None:
    """Removes what killed processes left."""
    own = {folder.path for folder in _folders}
    with contextlib.suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if path not in own and _is_left_over(path.lstat()):
                    lock = _lock(path)
                    shutil.rmtree(path, ignore_errors=True)
                    lock.release()


def _is_left_over(status: os.stat_result) -> bool:
    """Whether a folder may be one that nobody needs: an own one, made a while ago."""
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return own and time.time() - status.st_mtime > _SETTLED_S


def _lock(folder: Path) -> filelock.BaseFileLock:
    """Locks a folder until the process ends.

    Raises:
      OSError: if another process has locked it.
    """
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    lock.acquire()
    return lock


class Copy:
    """A file of replays that belong to one archive. Use as a context manager: an error removes it.

    Args:
      archive: its path, for the sources.
    """

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self._packer = zstandard.ZstdCompressor(level=1)
        descriptor, self._path = tempfile.mkstemp(dir=_folder())
        self._file: BinaryIO = os.fdopen(descriptor, "wb")

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._file.close()
        except OSError:
            Path(self._path).unlink(missing_ok=True)
            raise
        if error is not None:
            Path(self._path).unlink(missing_ok=True)

    def add(self, name: str, data: bytes) -> Source:
        """Appends a replay, and says where it lies.

        Raises:
          OSError: if there is no room for it.
        """
        if shutil.disk_usage(self._path).free < _KEPT_FREE_BYTES + len(data):
            raise OSError(28, os.strerror(28), self._path)
        offset, packed, crc = self._file.tell(), self._packer.compress(data), zlib.crc32(data)
        header = (b"PK\x03\x04", 63, 0, ZSTD, 0, 0, crc, len(packed), len(data), 0, 0)
        self._file.write(_HEADER.pack(*header) + packed)
        return Source(
            self._archive,
            name=name,
            size=len(data),
            offset=offset,
            packed=len(packed),
            method=ZSTD,
            crc=crc,
            copy=self._path,
        )

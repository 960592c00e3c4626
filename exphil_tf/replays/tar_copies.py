"""Compressed tars: their replays are copied once, in one pass, into a file that can be sought in.

A `.tar.gz` can be read from its beginning only, and games are read in another order than they lie
there, by several processes. Reading each from the beginning would take hours; a decompressor kept
at the right place by each process, as long again per process. So listing such an archive writes its
replays one after another into a temporary file, packed again (about as large as the archive), and
sources point there, as if it were a zip. Nothing is written under a member's name.

The files lie in a folder of this process in the system's temporary folder (`TMPDIR`). It is removed
when the process ends, and when it was killed, by the next process that looks for replays (see
`scratch`). Other machines don't have the file; a source read there is refused.
"""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import zstandard

from exphil_tf.process import scratch
from exphil_tf.replays.decompression import ZSTD
from exphil_tf.replays.listing import Source

_KEPT_FREE_BYTES = 256 << 20
_HEADER = struct.Struct("<4sHHHHHIIIHH")


class _Folder(NamedTuple):
    path: Path
    lock: int
    """Descriptor."""
    process: int


_folders: list[_Folder] = []
"""This process's own, once it has one."""


def _folder() -> Path:
    own = [folder.path for folder in _folders if folder.process == os.getpid()]
    if own:
        return own[0]
    path, lock = scratch.claim(Path(tempfile.gettempdir()))
    _folders.append(_Folder(path, lock, os.getpid()))
    atexit.register(release)
    return path


def release() -> None:
    """Removes this process's copies; sources that point there can't be read any more."""
    for folder in [folder for folder in _folders if folder.process == os.getpid()]:
        shutil.rmtree(folder.path, ignore_errors=True)
        os.close(folder.lock)
        _folders.remove(folder)


def sweep() -> None:
    """Removes what killed processes left."""
    scratch.sweep(Path(tempfile.gettempdir()))


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

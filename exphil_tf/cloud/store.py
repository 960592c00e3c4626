"""What a store of objects is to everything above it, and a folder that is one.

A store holds objects by key (`runs/mine/log.jsonl`). An object is put whole or not at all, and read
back by its key at once; a *listing* may lag behind. Nothing here deletes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, Protocol

from exphil_tf.foundation import atomic

BLOCK_BYTES = 1 << 20
OnBytes = Callable[[int], None]
"""Told how many more bytes have gone over."""


class StoreError(OSError):
    """A store did not do what it was asked, after retries."""


class MissingError(StoreError):
    """There is no object of that key."""


class Stored(NamedTuple):
    """One object, as a listing tells it."""

    key: str
    size: int
    etag: str | None
    """Changes with the content; on S3-like stores often its MD5."""
    modified_s: float
    """When it was put, in seconds since the epoch."""


class Store(Protocol):
    """A place for objects."""

    def list(self, prefix: str = "") -> list[Stored]:
        """Every object under a folder of keys, sorted by key."""
        ...

    def put_file(self, key: str, path: Path, on_bytes: OnBytes) -> str | None:
        """Puts a file; returns the object's etag."""
        ...

    def put_bytes(self, key: str, data: bytes) -> None:
        """Puts some bytes."""
        ...

    def get_bytes(self, key: str) -> bytes:
        """The content of a small object. Raises: MissingError: if there is none."""
        ...

    def get_file(self, key: str, file: BinaryIO, on_bytes: OnBytes) -> None:
        """Writes an object's content into a file. Raises: MissingError: if there is none."""
        ...


class FolderStore:
    """A folder as a store: a disk, a network volume, a test."""

    def __init__(self, root: Path):
        self.root = root

    def list(self, prefix: str = "") -> list[Stored]:
        """See `Store`."""
        found: list[Stored] = []
        for path in files_in(self._path(prefix)):
            with contextlib.suppress(FileNotFoundError):  # it may be gone by now
                status = path.stat()
                key = path.relative_to(self.root).as_posix()
                etag = f"{status.st_size:x}-{status.st_mtime_ns:x}"
                found.append(Stored(key, status.st_size, etag, status.st_mtime))
        return sorted(found)

    def put_file(self, key: str, path: Path, on_bytes: OnBytes) -> str | None:
        """See `Store`."""
        with path.open("rb") as file:
            target = self._write(key, _told(file, on_bytes))
        status = target.stat()
        return f"{status.st_size:x}-{status.st_mtime_ns:x}"

    def put_bytes(self, key: str, data: bytes) -> None:
        """See `Store`."""
        self._write(key, iter([data]))

    def get_bytes(self, key: str) -> bytes:
        """See `Store`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingError(f"{key}: not there") from error

    def get_file(self, key: str, file: BinaryIO, on_bytes: OnBytes) -> None:
        """See `Store`."""
        try:
            source = self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingError(f"{key}: not there") from error
        with source:
            for block in _told(source, on_bytes):
                file.write(block)

    def _write(self, key: str, blocks: Iterator[bytes]) -> Path:
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(target, blocks)
        return target

    def _path(self, key: str) -> Path:
        require_key(key)
        return self.root / key


def require_key(key: str) -> None:
    """Raises StoreError for a key that, as a path, would lead out of its folder."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or "\\" in key or "\0" in key:
        raise StoreError(f"{key!r:.80}: want a key inside its folder")


def files_in(folder: Path) -> Iterator[Path]:
    """Files that belong to a folder, through links, without what is unfinished."""
    if folder.is_file():
        yield folder
        return
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        folders[:] = sorted(
            name for name in folders if not (_is_unfinished(name) or _leads_back(place, name))
        )
        yield from (
            path
            for name in sorted(names)
            if not _is_unfinished(name) and (path := Path(place, name)).is_file()
        )


def _refuse_unreadable(error: OSError) -> None:
    """A folder that is gone by now is none of what is there; one that is closed would be missed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _leads_back(place: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in."""
    child = Path(place, name)
    return child.is_symlink() and Path(place).resolve().is_relative_to(child.resolve())


def _is_unfinished(name: str) -> bool:
    return name.startswith((atomic.TEMPORARY, atomic.REPLACED))


def _told(file: BinaryIO, on_bytes: OnBytes) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        on_bytes(len(block))
        yield block

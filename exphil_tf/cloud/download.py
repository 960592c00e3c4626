"""What lies on a store into a folder here: every byte compared, and whole or not at all.

A published folder (`cloud.upload`) gets its name once all its files are what its list says; an
unfinished upload of one stays away. A file that is newer here stays as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from exphil_tf.cloud.store import Store, Stored, StoreError
from exphil_tf.cloud.sums import (
    MD5,
    STEP,
    OnFile,
    Sum,
    Summary,
    etag_of,
    is_copied,
    listed,
    read_manifest,
    read_sums,
    silent,
    sums_here,
    together,
    tried,
    under,
)
from exphil_tf.foundation import atomic
from exphil_tf.foundation.atomic import CHECKSUMS


def download(
    store: Store,
    folder: Path,
    prefix: str = "",
    *,
    wanted: Callable[[str], bool] = lambda key: True,
    on_file: OnFile = silent,
) -> Summary:
    """Copies what lies under a prefix into a folder.

    What the manifest names is fetched by its key, whatever a lagging listing says.

    Args:
      store: where from.
      folder: where to.
      prefix: the place on the store.
      wanted: which keys under the prefix.
      on_file: progress.

    Returns: what was copied; what is damaged or unfinished is among its problems.

    Raises: OSError: if the store does not answer, or of the disk.
    """
    known, there = read_manifest(store, prefix), listed(store, prefix)
    down = _Download(store, prefix, on_file)
    keys = sorted(key for key in {*there, *known} if wanted(key) and is_copied(key))
    places = tuple(key.removesuffix(CHECKSUMS) for key in keys if _is_list(key))
    for place in places:
        down.published(place, folder / place)
    plain = [key for key in keys if not any(key.startswith(place) for place in places)]
    steps = {key.rpartition("/")[0] for key in plain if _is_in_step(key)}
    down.summary.problems += [f"{step}: an unfinished upload" for step in sorted(steps)]
    ask = [
        _Wanted(key, folder / key, known.get(key), there.get(key))
        for key in plain
        if not _is_in_step(key)
    ]
    for _ in together(down.file, ask):
        pass
    return down.summary


def download_published(
    store: Store, prefix: str, target: Path, *, on_file: OnFile = silent
) -> int | None:
    """Copies one published folder; it gets its name once every byte is what its list says.

    Returns: the bytes copied; None if it is here already.

    Raises:
      StoreError, ValueError: if it is damaged or unfinished; nothing is there then.
    """
    sums = read_sums(tried(lambda: store.get_bytes(under(prefix, CHECKSUMS))))
    is_settled = STEP.fullmatch(target.name) is not None or sums_here(target) == sums
    if target.is_dir() and is_settled and not atomic.problems(target):
        return None
    with atomic.publish(target) as folder:
        ask = [
            (under(prefix, name), _Wanted(name, folder / name, known, None))
            for name, known in sums.items()
        ]
        for _ in together(lambda one: _fetch(store, one[0], one[1], on_file=on_file), ask):
            pass
    return sum(one.bytes for one in sums.values())


@dataclass(frozen=True)
class _Wanted:
    """A file to be fetched, and what is known of it."""

    key: str
    target: Path
    known: Sum | None
    """As a list of sums or a manifest has it."""
    there: Stored | None
    """As a listing has it."""

    def settled(self) -> _Wanted:
        """Without what the manifest knew of an object that has been put anew since."""
        known, there = self.known, self.there
        if known is None or there is None:
            return self
        is_same = there.etag == known.etag if there.etag and known.etag else None
        if is_same is None:
            is_same = there.size == known.bytes
        return self if is_same else _Wanted(self.key, self.target, None, there)

    def stays(self) -> bool:
        """Whether the file that is here is what would be fetched, or newer."""
        if not self.target.is_file():
            return False
        status, there = self.target.stat(), self.there
        if self.known is not None:
            is_same = (status.st_size, atomic.sha256(self.target)) == (
                self.known.bytes,
                self.known.sha256,
            )
        else:
            is_same = there is not None and status.st_size == there.size and self._has_etag(there)
        return is_same or (there is not None and status.st_mtime > there.modified_s)

    def _has_etag(self, there: Stored) -> bool:
        """Whether the file here has that etag, or is as old as the object if that is no MD5."""
        if there.etag and MD5.match(there.etag):
            return etag_of(self.target) == there.etag
        return self.target.stat().st_mtime >= there.modified_s

    def check(self, written: _Hashing) -> None:
        """Raises StoreError if what came is not what is known of it."""
        size, there = written.size, self.there
        if self.known is not None:
            is_right = (size, written.sha256()) == (self.known.bytes, self.known.sha256)
        elif there is not None:
            is_md5 = there.etag is not None and MD5.fullmatch(there.etag) is not None
            is_right = size == there.size and (not is_md5 or there.etag == written.md5())
        else:
            is_right = True
        if not is_right:
            raise StoreError(f"{self.key}: came over damaged, or changes while it is copied")


@dataclass
class _Download:
    """One download under way."""

    store: Store
    prefix: str
    on_file: OnFile
    summary: Summary = field(default_factory=Summary)

    def published(self, name: str, target: Path) -> None:
        """A published folder, or what is wrong with it."""
        place = under(self.prefix, name.rstrip("/"))
        try:
            size = download_published(self.store, place, target, on_file=self.on_file)
        except (StoreError, ValueError) as error:
            self.summary.problems.append(f"{name.rstrip('/') or self.prefix}: not whole: {error}")
        else:
            self.summary.saw(int(size is not None), size or 0, same=int(size is None))

    def file(self, wanted: _Wanted) -> None:
        """One object, or what is wrong with it."""
        wanted = wanted.settled()
        if wanted.stays():
            self.summary.saw(0, same=1)
            return
        temporary = wanted.target.with_name(f"{atomic.TEMPORARY}{wanted.target.name}-{os.getpid()}")
        try:
            into = _Wanted(wanted.key, temporary, wanted.known, wanted.there)
            size = _fetch(self.store, under(self.prefix, wanted.key), into, on_file=self.on_file)
            if wanted.there is not None:
                os.utime(temporary, (wanted.there.modified_s, wanted.there.modified_s))
            temporary.replace(wanted.target)
            self.summary.saw(1, size)
        except StoreError as error:
            self.summary.problems.append(str(error))
        finally:
            temporary.unlink(missing_ok=True)


def _fetch(store: Store, key: str, wanted: _Wanted, *, on_file: OnFile) -> int:
    """Writes an object into a file, again if it came over damaged; returns its size."""
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
    told = wanted.known.bytes if wanted.known else wanted.there.size if wanted.there else 0

    def once() -> int:
        with wanted.target.open("wb") as file:
            written = _Hashing(file)
            store.get_file(key, cast(BinaryIO, written), on_file(wanted.key, told))
        wanted.check(written)
        return written.size

    return tried(once)


class _Hashing:
    """A file that knows the sums of what was written to it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._md5.update(data)
        self.size += len(data)
        return self._file.write(data)

    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def md5(self) -> str:
        return self._md5.hexdigest()


def _is_list(key: str) -> bool:
    return key == CHECKSUMS or key.endswith(f"/{CHECKSUMS}")


def _is_in_step(key: str) -> bool:
    return any(STEP.fullmatch(part) for part in key.split("/")[:-1])

"""What a copy is compared with: sums of published folders, and the manifest of an upload."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import sleep as _sleep
from typing import Any, NamedTuple, TypeVar

from exphil_tf.cloud.bucket import PART_BYTES
from exphil_tf.cloud.store import MissingError, OnBytes, Store, Stored, StoreError
from exphil_tf.foundation import atomic
from exphil_tf.foundation.atomic import CHECKSUMS

MANIFEST = "sync-manifest.json"
"""What uploads put under an address: sha256, size and etag of each file."""
NOT_COPIED = ("lock", "lock-owner.json", MANIFEST)
STEP = re.compile(r"step-\d{8,}")
"""Names of checkpoints: what is in one never changes."""
THREADS = 8
TRIES = 4
"""Times that something is tried, besides the retries of requests."""
MD5 = re.compile(r"[0-9a-f]{32}")
T = TypeVar("T")
OnFile = Callable[[str, int], OnBytes]
"""Told a file and its size when its copy begins; returns what is told the bytes."""


def silent(name: str, size: int) -> OnBytes:
    """For copies that nobody watches."""
    return lambda count: None


@dataclass
class Summary:
    """What a copy came to."""

    files: int = 0
    """Copied."""
    bytes: int = 0
    skipped: int = 0
    """Files that were the same already."""
    problems: list[str] = field(default_factory=list[str])
    """What was not copied, and why: one sentence each."""

    def __post_init__(self) -> None:
        self._lock = Lock()

    def saw(self, copied: int, size: int = 0, *, same: int = 0) -> None:
        """Counts files that were copied, with their bytes, and files that were the same."""
        with self._lock:
            self.files += copied
            self.bytes += size
            self.skipped += same

    def in_words(self) -> str:
        """One line."""
        text = f"{self.files:,} files, {self.bytes / 1e6:,.1f} MB copied; {self.skipped:,} the same"
        return f"{text}; {len(self.problems)} not copied" if self.problems else text


class Sum(NamedTuple):
    """What is known of a file."""

    sha256: str
    bytes: int
    etag: str | None = None
    """Of the object that it was put as."""


def sum_of(path: Path) -> Sum:
    """Of a file here."""
    return Sum(atomic.sha256(path), path.stat().st_size)


def read_manifest(store: Store, prefix: str) -> dict[str, Sum]:
    """What was put under a prefix; empty if no upload has ended, or another tool made it.

    Raises: StoreError: if the store does not answer.
    """
    try:
        data = tried(lambda: store.get_bytes(under(prefix, MANIFEST)))
        return _sums_in(json.loads(data)["files"])
    except (MissingError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_manifest(store: Store, prefix: str, sums: Mapping[str, Sum]) -> None:
    """Puts the manifest of what lies under a prefix."""
    values = {"version": 1, "files": {key: sums[key]._asdict() for key in sorted(sums)}}
    data = json.dumps(values, indent=1).encode()
    tried(lambda: store.put_bytes(under(prefix, MANIFEST), data))


def sums_here(place: Path) -> dict[str, Sum] | None:
    """What a published folder lists; None if it is none."""
    try:
        return read_sums((place / CHECKSUMS).read_bytes())
    except (OSError, ValueError):
        return None


def read_sums(data: bytes) -> dict[str, Sum]:
    """The files of a list of sums.

    Raises: ValueError: if it is none, or names a file outside its folder.
    """
    try:
        sums = _sums_in(json.loads(data)["files"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{CHECKSUMS}: not readable ({type(error).__name__})") from None
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in sums):
        raise ValueError(f"{CHECKSUMS}: names a file outside its folder")
    return sums


def _sums_in(values: Mapping[str, Any]) -> dict[str, Sum]:
    found: dict[str, Sum] = {}
    for name, one in values.items():
        etag = one.get("etag")
        etag = None if etag is None else str(etag)
        found[name] = Sum(str(one["sha256"]), int(one["bytes"]), etag)
    return found


def etag_of(path: Path) -> str:
    """The etag that S3 gives a file that is put as here: its MD5, or that of its parts' MD5s."""
    digests: list[bytes] = []
    with path.open("rb") as file:
        while block := file.read(PART_BYTES):
            digests.append(_md5(block))
    if len(digests) <= 1:
        return (digests or [_md5(b"")])[0].hex()
    return f"{_md5(b''.join(digests)).hex()}-{len(digests)}"


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def listed(store: Store, prefix: str) -> dict[str, Stored]:
    """The objects under a prefix, by key from there on."""
    start = under(prefix, "")
    return {
        one.key[len(start) :]: one._replace(key=one.key[len(start) :])
        for one in tried(lambda: store.list(prefix))
        if one.key.startswith(start)
    }


def under(prefix: str, key: str) -> str:
    """A key under a prefix."""
    return f"{prefix.strip('/')}/{key}" if prefix.strip("/") else key


def is_copied(key: str) -> bool:
    """Whether a file is one to copy, by its name."""
    name = key.rpartition("/")[2]
    return name not in NOT_COPIED and not name.startswith((atomic.TEMPORARY, atomic.REPLACED))


def tried(work: Callable[[], T], *, pause_s: float = 0.2) -> T:
    """Does something, again if the store fails; not for what is missing."""
    for attempt in range(1, TRIES):
        try:
            return work()
        except MissingError:
            raise
        except StoreError:
            _sleep(pause_s * 2**attempt)
    return work()


def together(work: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Does it for all, some at a time, in order; the first error stops what has not begun."""
    items = list(items)
    if len(items) <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(THREADS) as threads:
        futures = [threads.submit(work, one) for one in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

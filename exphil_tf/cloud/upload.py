"""Folders up to a store; a half-finished upload is never taken for a whole one.

What was *published* here (`foundation.atomic`: a checkpoint, a policy) lies in a folder with a list
of sha256 sums. Its files go up first and that list last, so that a folder without its list is an
unfinished upload. Other files are objects of their own, which a store holds whole or not at all. An
upload ends with a manifest of all sums, by which a lagging listing is noticed.

Nothing is ever deleted, and a checkpoint that is whole on the store is never written to again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exphil_tf.cloud.store import MissingError, Store, Stored, files_in
from exphil_tf.cloud.sums import (
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
    sum_of,
    sums_here,
    together,
    tried,
    under,
    write_manifest,
)
from exphil_tf.foundation.atomic import CHECKSUMS


def upload(folder: Path, store: Store, prefix: str = "", *, on_file: OnFile = silent) -> Summary:
    """Copies a folder up: plain files, what is published, checkpoints last, then the manifest.

    So a checkpoint on the store is never newer than the policy and the options that go with it.

    Args:
      folder: what is copied, links followed; or one file.
      store: where to.
      prefix: the folder's place there.
      on_file: progress.

    Raises: OSError: of the store or the disk; the next upload goes on from there.
    """
    known = read_manifest(store, prefix)
    up = _Upload(store, prefix, listed(store, prefix), known, on_file)
    base = folder if folder.is_dir() else folder.parent
    places, plain = _parts(folder)
    up.plain({path.relative_to(base).as_posix(): path for path in plain})
    for place in places:
        up.published(place, place.relative_to(base).as_posix())
    if up.sums != known:
        write_manifest(store, prefix, up.sums)
    return up.summary


def _parts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Published folders, checkpoints last; and the files outside them."""
    files = [path for path in files_in(folder) if is_copied(path.name)]
    places = [path.parent for path in files if path.name == CHECKSUMS]
    places.sort(key=lambda place: (STEP.fullmatch(place.name) is not None, place))
    plain = [path for path in files if not set(places) & set(path.parents)]
    return places, plain


@dataclass
class _Upload:
    """One upload under way."""

    store: Store
    prefix: str
    there: Mapping[str, Stored]
    known: Mapping[str, Sum]
    on_file: OnFile
    summary: Summary = field(default_factory=Summary)

    def __post_init__(self) -> None:
        self.sums = dict(self.known)

    def plain(self, paths: Mapping[str, Path]) -> None:
        """Files of which each counts for itself, by key."""
        self.sums.update(dict(filter(None, together(self._plain, paths.items()))))

    def published(self, place: Path, name: str) -> None:
        """A folder with a list of sums: its files, then the list."""
        sums = sums_here(place)
        if sums is None:
            self.summary.problems.append(f"{place}: {CHECKSUMS} is damaged")
            return
        name = "" if name == "." else f"{name}/"
        found = self._sums_there(name)
        # Another one of the same step is of the same run, with other times in it.
        is_settled = STEP.fullmatch(place.name) and found and self._is_whole(name, found)
        if found is not None and (found == sums or is_settled):
            self._keep(name, found)
            return
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile, for newer ones
            items = [(f"{name}{file}", place / file, one) for file, one in sums.items()]
            made = dict(together(lambda one: self._known(*one), items))
            key = f"{name}{CHECKSUMS}"
            self.sums |= made | {key: self._put(key, place / CHECKSUMS, sum_of(place / CHECKSUMS))}

    def _plain(self, item: tuple[str, Path]) -> tuple[str, Sum] | None:
        key, path = item
        try:
            return self._known(key, path, sum_of(path))
        except FileNotFoundError:
            return None  # removed meanwhile

    def _known(self, key: str, path: Path, known: Sum) -> tuple[str, Sum]:
        """Puts a file, unless it is there."""
        there = self.there.get(key)
        if there is None or not self._is_same(there, known, path):
            return key, self._put(key, path, known)
        self.summary.saw(0, same=1)
        return key, known._replace(etag=there.etag)

    def _is_same(self, there: Stored, known: Sum, path: Path) -> bool:
        """Whether an object holds what a file does, as far as can be told without reading it."""
        if there.size != known.bytes:
            return False
        before = self.known.get(there.key)
        if before is not None and before == known._replace(etag=there.etag):
            return True
        return there.etag is not None and there.etag == etag_of(path)

    def _put(self, key: str, path: Path, known: Sum) -> Sum:
        on_bytes, place = self.on_file(key, known.bytes), under(self.prefix, key)
        etag = tried(lambda: self.store.put_file(place, path, on_bytes))
        self.summary.saw(1, known.bytes)
        return known._replace(etag=etag)

    def _keep(self, name: str, sums: Mapping[str, Sum]) -> None:
        """Takes a published folder that is there into the manifest."""
        for file, one in sums.items():
            there = self.there.get(f"{name}{file}")
            self.sums[f"{name}{file}"] = one._replace(etag=there.etag if there else None)
        self.summary.saw(0, same=len(sums) + 1)

    def _sums_there(self, name: str) -> dict[str, Sum] | None:
        """What a published folder on the store lists; None if it is not there, or damaged."""
        key = under(self.prefix, f"{name}{CHECKSUMS}")
        with contextlib.suppress(MissingError, ValueError):
            return read_sums(tried(lambda: self.store.get_bytes(key)))
        return None

    def _is_whole(self, name: str, sums: Mapping[str, Sum]) -> bool:
        found = {file: self.there.get(f"{name}{file}") for file in sums}
        return all(one is not None and one.size == sums[f].bytes for f, one in found.items())

"""Whether the shards are those that the manifest names: asked at the start of whatever reads them.

A shard cut at a record's border, emptied, doubled, exchanged with another or made by another job
reads well: only the manifest knows. Names and sizes cost one `stat` each and are always compared.
Contents are hashed once, in parallel (about 1 GB/s a core), and never again while a file's size,
times and inode stay what they were; what was hashed is remembered in `.hashes/` in the dataset, or
where that can't be written in the user's cache folder. The memory is only ever trusted to say that
a shard is sound: a hash that differs is taken again from the bytes.

As the manifest is itself sealed, a record that passes is byte for byte the one that preprocessing
wrote for that split, variant and shard. Checking split and variant of each record while training
would cost a string comparison a record and find nothing more.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.user_cache import user_cache
from exphil_tf.process.cores import usable_cores
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT
from exphil_tf.records.game_lengths import from_histogram
from exphil_tf.records.manifest import Manifest, ManifestError, ShardEntry, SplitStats
from exphil_tf.records.shards import ShardName

VerifyData = Literal["once", "always", "sizes"]
"""How shards are compared: contents once while a file stays as it is, always, or sizes only."""

MEMORY = ".hashes"
_MEMORY_FILE = "shards.json"
_VERSION = 1
_THREADS = 8


class Stamp(NamedTuple):
    """What changes when a file does."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Of a file as it is now; raises OSError."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def entries(
    manifest: Manifest,
    *,
    splits: Collection[str] | None = None,
    variants: Collection[str] | None = None,
) -> list[ShardEntry]:
    """The shards of some splits and variants; None for all."""
    return [
        entry
        for split, by_variant in manifest.splits.items()
        for variant, some in by_variant.items()
        for entry in some
        if (splits is None or split in splits) and (variants is None or variant in variants)
    ]


def check(
    folder: Path,
    manifest: Manifest,
    *,
    shards: Iterable[ShardEntry] | None = None,
    mode: VerifyData = "once",
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Compares a dataset's files with its manifest.

    Args:
      folder: of the dataset.
      manifest: its own, loaded.
      shards: those whose contents will be read (`entries`); None for all. Names, counts and sizes
        are compared of all.
      mode: see `VerifyData`.
      on_bytes: told the bytes hashed so far.

    Raises: ManifestError: names the first file that is not what the manifest says, and why.
    """
    problems = [*manifest_problems(manifest), *_size_problems(folder, manifest.shards())]
    if not problems and mode != "sizes":
        wanted = manifest.shards() if shards is None else list(shards)
        problems = _content_problems(folder, wanted, is_fresh=mode == "always", on_bytes=on_bytes)
    if problems:
        raise _damaged(folder, problems)


def _damaged(folder: Path, problems: list[str]) -> ManifestError:
    others = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return ManifestError(
        f"{folder}: not the dataset that its manifest describes: {problems[0]}{others}.",
        f"Run `python -m exphil_tf.verify {shlex.quote(str(folder))}` to see all that is wrong, "
        "then copy the dataset again or preprocess again with --overwrite.",
        exit_code=exit_code(problems),
    )


def exit_code(problems: Collection[str]) -> int:
    """How a command ends on a dataset with problems: 66 if files are missing and that is all."""
    is_missing = all(problem.endswith(": missing") for problem in problems)
    return EXIT_NO_INPUT if is_missing else EXIT_DATA


def manifest_problems(manifest: Manifest) -> list[str]:
    """What in a manifest contradicts itself, one line each: names of shards, sums of counts."""
    return [*_name_problems(manifest), *_total_problems(manifest)]


def _name_problems(manifest: Manifest) -> Iterator[str]:
    for split, variants in manifest.splits.items():
        for variant, some in variants.items():
            for number, entry in enumerate(some):
                want = ShardName(split, variant, number, len(some)).path
                if entry.path != want:
                    yield f"manifest.json: want shard {want}. Received: {entry.path:.80}"


def _total_problems(manifest: Manifest) -> list[str]:
    totals, shards = manifest.totals, manifest.shards()
    own = {
        "totals.shards": (totals.shards, len(shards)),
        "totals.records": (totals.records, sum(entry.records for entry in shards)),
        "totals.bytes": (totals.bytes, sum(entry.bytes for entry in shards)),
        "totals.rejected": (totals.rejected, sum(manifest.rejects.values())),
        "totals.games": (totals.games, sum(stats.games for stats in manifest.stats.values())),
        "totals.files": (totals.files, totals.games + totals.rejected),
    }
    for split, stats in manifest.stats.items():
        own |= _length_sums(split, stats)
        for variant, some in manifest.splits.get(split, {}).items():
            frames = sum(entry.frames for entry in some)
            own[f"{split}.{variant}.frames"] = (stats.frames, frames)
    return [
        f"manifest.json: {name}: want {want}. Received: {got}"
        for name, (want, got) in own.items()
        if want != got
    ]


def _length_sums(split: str, stats: SplitStats) -> dict[str, tuple[int, int]]:
    """Counts of a split, and the same from the lengths of its games, if those are known."""
    lengths = from_histogram(stats.lengths)
    if not lengths:
        return {}
    frames = sum(length.frames * games for length, games in lengths.items())
    views = sum(
        length.frames * length.perspectives.bit_count() * games for length, games in lengths.items()
    )
    return {
        f"stats.{split}.lengths, games": (stats.games, lengths.total()),
        f"stats.{split}.lengths, frames": (stats.frames, frames),
        f"stats.{split}.lengths, perspective_frames": (stats.perspective_frames, views),
    }


def _size_problems(folder: Path, shards: Iterable[ShardEntry]) -> list[str]:
    problems: list[str] = []
    for entry in shards:
        path = folder / entry.path
        if not path.is_file():
            problems.append(f"{entry.path}: missing")
        elif path.stat().st_size != entry.bytes:
            size = path.stat().st_size
            problems.append(f"{entry.path}: want {entry.bytes} bytes. Received: {size}")
    return problems


def _content_problems(
    folder: Path,
    shards: list[ShardEntry],
    *,
    is_fresh: bool,
    on_bytes: Callable[[int], None],
) -> list[str]:
    memory = Memory(folder)
    pending = [e for e in shards if is_fresh or not memory.knows(folder / e.path, e.sha256)]
    if not pending:
        return []
    problems: list[str] = []
    done = 0
    with ThreadPoolExecutor(min(_THREADS, usable_cores())) as threads:
        hashed = threads.map(_hash, [folder / entry.path for entry in pending])
        for entry, found in zip(pending, hashed, strict=True):
            done += entry.bytes
            on_bytes(done)
            if found.sha256 != entry.sha256:
                problems.append(f"{entry.path}: its bytes are others (sha256 differs)")
            elif found.stamp is not None:
                memory.remember(entry.path, found.stamp, found.sha256)
    memory.save()
    return problems


class _Hashed(NamedTuple):
    sha256: str
    stamp: Stamp | None
    """None if the file changed meanwhile."""


def _hash(path: Path) -> _Hashed:
    before = Stamp.of(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _Hashed(digest, before if Stamp.of(path) == before else None)


class Memory:
    """Hashes of shards as they were when they were last read.

    Args:
      folder: of the dataset.
    """

    def __init__(self, folder: Path):
        self._places = [folder / MEMORY / _MEMORY_FILE]
        with suppress(OSError, RuntimeError):  # no home folder: nothing is remembered there
            name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
            self._places.append(user_cache() / f"shards-{name}.json")
        self._files: dict[str, list[Any]] = {}
        for place in reversed(self._places):
            self._files |= _read(place)

    def knows(self, path: Path, sha256: str) -> bool:
        """Whether the file was read as it is now, and had that hash."""
        try:
            return self._files.get(path.name) == [*Stamp.of(path), sha256]
        except OSError:
            return False

    def remember(self, name: str, stamp: Stamp, sha256: str) -> None:
        """Notes the hash of a file that had that stamp before and after it was read."""
        self._files[name] = [*stamp, sha256]

    def save(self) -> None:
        """Writes the notes to the first place that takes them; no place is no harm."""
        text = json.dumps({"version": _VERSION, "files": self._files}, indent=0)
        for place in self._places:
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                write_file(place, [text.encode()])
                return


def _read(place: Path) -> dict[str, list[Any]]:
    """The notes in a file; none if it is missing, damaged or of another version."""
    try:
        values = cast(dict[str, Any], json.loads(place.read_bytes()))
        files = cast(dict[str, list[Any]], values["files"])
        is_ours = values["version"] == _VERSION
        return {name: list(note) for name, note in files.items()} if is_ours else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}

"""Checks a dataset against its manifest: checksums, CRCs, counts, stray and missing files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from exphil_tf.features.packing import unpack
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation.atomic import TEMPORARY
from exphil_tf.records import headers, integrity
from exphil_tf.records.example import Header, decode_header, decode_planes
from exphil_tf.records.game_lengths import Length, from_histogram
from exphil_tf.records.manifest import (
    FileEntry,
    Manifest,
    ManifestError,
    ShardEntry,
    SplitStats,
    load_manifest,
)
from exphil_tf.records.shards import CorruptShard, read_records

_READ_BYTES = 1 << 20


class Report(NamedTuple):
    """What `verify` found.

    Attributes:
      problems: one line each, naming the file; empty if the dataset is sound.
      shards, records, frames, bytes: what was read.
      lengths: of the games that were read.
    """

    problems: list[str]
    shards: int = 0
    records: int = 0
    frames: int = 0
    bytes: int = 0
    lengths: Counter[Length] = Counter()


def verify(
    folder: Path | str, *, deep: bool = False, progress: Callable[[int], None] | None = None
) -> Report:
    """Checks every file of a dataset.

    Args:
      folder: the dataset.
      deep: also decompress every record, and hold its columns against the schema's bounds.
      progress: called with the bytes of each shard once it is done.

    Raises:
      ManifestError: if there is no readable manifest.
    """
    folder = Path(folder)
    manifest = load_manifest(folder)
    problems = [*_stray_files(folder, manifest), *integrity.manifest_problems(manifest)]
    for entry in manifest.files.values():
        problems += _checksum(folder / entry.path, entry)
    problems += _rejects(folder, manifest)
    records = frames = size = 0
    for split, variants in manifest.splits.items():
        for shards in variants.values():
            lengths, before = Counter[Length](), len(problems)
            for entry in shards:
                found = _shard(folder, entry, manifest, deep=deep)
                problems += found.problems
                records, frames = records + found.records, frames + found.frames
                size, lengths = size + found.bytes, lengths + found.lengths
                if progress is not None:
                    progress(entry.bytes)
            if len(problems) == before and shards:
                problems += _lengths(manifest.stats[split], lengths, first=shards[0].path)
    return Report(problems, len(manifest.shards()), records, frames, size)


def _lengths(stats: SplitStats, found: Counter[Length], *, first: str) -> list[str]:
    """Whether sound shards, the first of which is named, hold games of the lengths counted."""
    counted = from_histogram(stats.lengths)
    if not counted or counted == found:
        return []
    one = min(length for length in counted | found if counted[length] != found[length])
    return [
        f"{first} and its like: want {counted[one]} games of {one.frames} frames, perspectives "
        f"{one.perspectives}. Received: {found[one]}"
    ]


def _stray_files(folder: Path, manifest: Manifest) -> list[str]:
    known = {entry.path for entry in manifest.shards()}
    found = {path.name for path in folder.glob("*.tfrecord")}
    lines = [
        f"{name}: not in the manifest (left by another run?)" for name in sorted(found - known)
    ]
    return lines + [
        f"{path.name}: left by a killed run" for path in sorted(folder.glob(f"{TEMPORARY}*"))
    ]


def _checksum(path: Path, entry: ShardEntry | FileEntry) -> list[str]:
    if not path.is_file():
        return [f"{entry.path}: missing"]
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
            size += len(part)
    if size != entry.bytes:
        return [f"{entry.path}: want {entry.bytes} bytes. Received: {size}"]
    if digest.hexdigest() != entry.sha256:
        return [f"{entry.path}: sha256 differs from the manifest"]
    return []


def _rejects(folder: Path, manifest: Manifest) -> list[str]:
    entry = manifest.files.get("rejected")
    if entry is None or not (folder / entry.path).is_file():
        return []
    try:
        with (folder / entry.path).open("rb") as lines:  # text has other line ends than JSON
            reasons = Counter(json.loads(line)["reason"] for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        return [f"{entry.path}: damaged: {error}"]
    if reasons != Counter(manifest.rejects):
        return [f"{entry.path}: want {manifest.rejects}. Received: {dict(reasons)}"]
    return []


def _shard(folder: Path, entry: ShardEntry, manifest: Manifest, *, deep: bool) -> Report:
    path = folder / entry.path
    problems = _checksum(path, entry)
    records = frames = 0
    games: dict[bytes, Length] = {}
    bounds = headers.bounds(
        chunk=manifest.chunk_frames,
        overlap=manifest.overlap_frames,
        players=len(manifest.players),
    )
    if path.is_file():
        try:
            for record in read_records(path):
                header = decode_header(record)
                wrong = bounds.problem(header) or (_columns(header) if deep else "")
                if wrong:
                    problems.append(f"{entry.path}: record {records}: {wrong}")
                records += 1
                owned = min(header.valid, manifest.chunk_frames)
                frames += owned
                meta = header.meta
                before = games.get(meta.key, Length(meta.perspectives, 0))
                games[meta.key] = before._replace(frames=before.frames + owned)
        except CorruptShard as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(f"{entry.path}: record {records}: {error}")
        found = {"records": records, "frames": frames, "games": len(games)}
        problems += [
            f"{entry.path}: want {getattr(entry, name)} {name}. Received: {count}"
            for name, count in found.items()
            if count != getattr(entry, name)
        ]
    size = path.stat().st_size if path.is_file() else 0
    return Report(problems, 1, records, frames, size, Counter(games.values()))


def _columns(header: Header) -> str:
    """The first column of a record whose values the schema does not allow; empty if all may be."""
    planes = decode_planes(header.blob)
    frames = unpack(np.ascontiguousarray(planes[:, : header.valid].T))
    return next(iter(SCHEMA.check(frames)), "")


__all__ = ["ManifestError", "Report", "verify"]

"""The last stages: groups of elements → shards, lists and the manifest on disk.

An *element* is (key, bytes); the first word of its key is its kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_pipelines import spill, storage
from beam_pipelines.libraries import library_versions
from beam_pipelines.settings import DatasetConfig, content_config
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.records import manifest as manifests
from exphil_tf.records.manifest import (
    FileEntry,
    Manifest,
    PlayerEntry,
    ShardEntry,
    SplitStats,
    Totals,
)
from exphil_tf.records.shards import ShardName
from exphil_tf.records.stats import Tally, add

Element = tuple[str, bytes]
SHARD, GAME, REJECT, TALLY, PLAN = "shard", "game", "reject", "tally", "plan"
"""Kinds of elements, the first word of their keys."""


class WriteGroup(beam.DoFn):
    """Elements of one key → a shard on disk, or their sum; each leaves one small element behind."""

    def __init__(self, output: str):
        self._output = output

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[tuple[int, Element]]:
        """Writes or gathers a group."""
        key, values = element
        kind, _, name = key.partition("/")
        if kind == SHARD:
            yield 0, (key, write_shard(self._output, name, values).model_dump_json().encode())
        elif kind == TALLY:
            total: Tally = {}
            for value in values:
                total = add(total, json.loads(value))
            yield 0, (key, json.dumps(total).encode())
        else:
            yield 0, (key, b"\n".join(values))


def write_shard(output: str, name: str, values: Iterable[bytes]) -> ShardEntry:
    """Writes a shard of the given parts, ordered by key, without ever holding them together."""
    parts = sorted((spill.unpack(value) for value in values), key=lambda part: part[0]["key"])
    written = storage.write(output, name, (data for part in parts for data in spill.read(*part)))
    return ShardEntry(
        path=name,
        sha256=written.sha256,
        bytes=written.bytes,
        records=sum(header["records"] for header, _ in parts),
        games=len(parts),
        frames=sum(header["frames"] for header, _ in parts),
    )


class WriteManifest(beam.DoFn):
    """All that the groups left behind → the files that end a job, the manifest last."""

    def __init__(self, config: DatasetConfig):
        self._config = config

    def process(self, element: tuple[int, Iterable[Element]]) -> Iterator[str]:
        """Writes `games.jsonl`, `rejected.jsonl` and `manifest.json`."""
        groups = dict(element[1])
        output = self._config.output
        files = {
            "games": _write_lines(output, manifests.GAMES, groups.get(GAME, b"")),
            "rejected": _write_lines(output, manifests.REJECTED, groups.get(REJECT, b"")),
        }
        finished = assemble(groups, files, self._config)
        storage.write(output, manifests.MANIFEST, [manifests.to_json(finished)])
        yield f"{finished.totals.games} games, {finished.totals.rejected} rejected"


def _write_lines(output: str, name: str, text: bytes) -> FileEntry:
    lines = manifests.json_lines([json.loads(line) for line in text.splitlines()])
    written = storage.write(output, name, lines)
    return FileEntry(path=name, sha256=written.sha256, bytes=written.bytes, lines=len(lines))


def assemble(
    groups: dict[str, bytes], files: dict[str, FileEntry], config: DatasetConfig
) -> Manifest:
    """The manifest of a finished job."""
    decided = json.loads(groups[PLAN])
    shards: dict[str, dict[str, list[ShardEntry]]] = {}
    stats: dict[str, SplitStats] = {}
    for key, value in sorted(groups.items()):
        kind, _, name = key.partition("/")
        if kind == SHARD:
            place = ShardName.parse(name)
            entries = shards.setdefault(place.split, {}).setdefault(place.variant, [])
            entries.append(ShardEntry.model_validate_json(value))
        elif kind == TALLY:
            stats[name] = SplitStats.model_validate_json(value)
    rejects: dict[str, int] = {}
    for line in groups.get(REJECT, b"").splitlines():
        reason = json.loads(line)["reason"]
        rejects[reason] = rejects.get(reason, 0) + 1
    return Manifest(
        format_version=manifests.FORMAT_VERSION,
        fingerprint=SCHEMA.fingerprint(),
        digests=SCHEMA.digests(),
        row_bytes=ROW_BYTES,
        chunk_frames=config.records.chunk_frames,
        overlap_frames=config.records.overlap_frames,
        config=content_config(config),
        input_hash=decided["input_hash"],
        splits=shards,
        stats=stats,
        rejects=rejects,
        players=[
            PlayerEntry(id=index + 1, player=name, games=games)
            for index, (name, games) in enumerate(decided["players"])
        ],
        totals=_totals(shards, stats, rejects, num_files=decided["num_files"]),
        files=files,
        libraries=library_versions(),
    )


def _totals(
    shards: dict[str, dict[str, list[ShardEntry]]],
    stats: dict[str, SplitStats],
    rejects: dict[str, int],
    *,
    num_files: int,
) -> Totals:
    entries = [
        entry for variants in shards.values() for some in variants.values() for entry in some
    ]
    return Totals(
        files=num_files,
        games=sum(one.games for one in stats.values()),
        rejected=sum(rejects.values()),
        frames=sum(one.frames for one in stats.values()),
        perspective_frames=sum(
            stats[split].perspective_frames * len(variants) for split, variants in shards.items()
        ),
        shards=len(entries),
        records=sum(entry.records for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
    )


class WriteLines(beam.DoFn):
    """Elements of one kind → a JSON-lines file in a folder."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[str]:
        """Writes a group."""
        kind, values = element
        lines = manifests.json_lines([json.loads(value) for value in values])
        yield storage.write(self._folder, f"{kind}.jsonl", lines).path

"""The last stages: groups of elements → shards, lists and the manifest on disk.

An *element* is (key, bytes); the first word of its key is its kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines import spill, storage
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.preprocessing.dataset_config import DatasetConfig, content_config
from exphil_tf.preprocessing.encoded_games import Place, records
from exphil_tf.preprocessing.libraries import library_versions
from exphil_tf.preprocessing.placement import PlacedGame
from exphil_tf.records import manifest as manifests
from exphil_tf.records.example import ChunkMeta
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
SHARD, GAME, REJECT, PLAYERS, JOB = "shard", "game", "reject", "players", "job"
"""Kinds of elements, the first word of their keys."""


def game_line(placed: PlacedGame) -> dict[str, Any]:
    """A line of `games.jsonl`."""
    game = placed.game
    return {
        "key": placed.key,
        "file": game.file,
        "sha256": game.sha256,
        "split": placed.split,
        "shard": placed.shard,
        "frames": game.frames,
        "perspectives": game.perspectives,
        "player_ids": list(placed.player_ids),
        "characters": list(game.characters),
        "stage": game.stage,
        "winner": game.winner,
        "note": game.note,
    }


class _Part(NamedTuple):
    """A variant of a game in its shard, as it crosses to the writer in JSON."""

    key: str
    perspectives: int
    player_ids: tuple[int, int]
    characters: tuple[int, int]
    stage: int
    winner: int
    records: int
    frames: int
    place: Place
    part: int
    """Of the place; 0 is the tally, 1 the original."""


def shard_part(placed: PlacedGame, part: int) -> bytes:
    """The element that puts a variant of a game into its shard; see `_Part`."""
    game = placed.game
    return json.dumps(
        _Part(
            placed.key,
            game.perspectives,
            placed.player_ids,
            game.characters,
            game.stage,
            game.winner,
            game.num_records,
            game.frames,
            game.place,
            part,
        )
    ).encode()


def _read_part(element: bytes) -> _Part:
    part = _Part(*json.loads(element))  # tuples have become lists
    return part._replace(
        player_ids=_pair(part.player_ids),
        characters=_pair(part.characters),
        place=Place(*part.place),
    )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


class WriteGroup(beam.DoFn):
    """Elements of one key → a shard on disk, or their list; each leaves one small element."""

    def __init__(self, output: str):
        self._output = output

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[tuple[int, Element]]:
        """Writes or gathers a group."""
        key, values = element
        kind, _, name = key.partition("/")
        if kind == SHARD:
            parts = sorted(map(_read_part, values))  # by key
            entry = write_shard(self._output, name, parts)
            facts = {"entry": entry.model_dump(mode="json"), "tally": _tally(parts)}
            yield 0, (key, json.dumps(facts).encode())
        else:
            yield 0, (key, b"\n".join(values))


def write_shard(output: str, name: str, parts: Sequence[_Part]) -> ShardEntry:
    """Writes a shard of the given parts, without ever holding them together."""
    written = storage.write(output, name, map(_records, parts))
    return ShardEntry(
        path=name,
        sha256=written.sha256,
        bytes=written.bytes,
        records=sum(part.records for part in parts),
        games=len(parts),
        frames=sum(part.frames for part in parts),
    )


def _records(part: _Part) -> bytes:
    meta = ChunkMeta(
        key=part.key.encode(),
        perspectives=part.perspectives,
        player_ids=part.player_ids,
        characters=part.characters,
        stage=part.stage,
        winner=part.winner,
    )
    return records(spill.read(part.place, part.part), meta)


def _tally(parts: Sequence[_Part]) -> Tally:
    """The counts of a shard's games; empty unless they are original, as a game counts once."""
    total: Tally = {}
    for part in parts:
        if part.part == 1:
            total = add(total, json.loads(spill.read(part.place, 0)))
    return total


class WriteManifest(beam.DoFn):
    """All that the groups left behind → the files that end a job, the manifest last.

    Args:
      config: of the job.
      spill_folder: deleted here if it lies on a store; on a disk, whoever started the job does so.
    """

    def __init__(self, config: DatasetConfig, spill_folder: str):
        self._config = config
        self._spill_folder = spill_folder

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
        if storage.is_remote(self._spill_folder):
            storage.remove_folder(self._spill_folder)
        yield f"{finished.totals.games} games, {finished.totals.rejected} rejected"


def _write_lines(output: str, name: str, text: bytes) -> FileEntry:
    lines = manifests.json_lines(list(map(json.loads, _lines(text))))
    written = storage.write(output, name, lines)
    return FileEntry(path=name, sha256=written.sha256, bytes=written.bytes, lines=len(lines))


def _lines(text: bytes) -> list[bytes]:
    return text.split(b"\n") if text else []


def assemble(
    groups: dict[str, bytes], files: dict[str, FileEntry], config: DatasetConfig
) -> Manifest:
    """The manifest of a finished job."""
    job, ranked = json.loads(groups[JOB]), json.loads(groups[PLAYERS])
    shards: dict[str, dict[str, list[ShardEntry]]] = {}
    tallies: dict[str, Tally] = {}
    for key, value in sorted(groups.items()):
        kind, _, name = key.partition("/")
        if kind == SHARD:
            place, facts = ShardName.parse(name), json.loads(value)
            entries = shards.setdefault(place.split, {}).setdefault(place.variant, [])
            entries.append(ShardEntry.model_validate(facts["entry"]))
            tallies[place.split] = add(tallies.get(place.split, {}), facts["tally"])
    stats = {name: SplitStats.model_validate(tally) for name, tally in tallies.items()}
    reasons = Counter(json.loads(line)["reason"] for line in _lines(groups.get(REJECT, b"")))
    rejects = dict(reasons)
    return Manifest(
        format_version=manifests.FORMAT_VERSION,
        fingerprint=SCHEMA.fingerprint(),
        digests=SCHEMA.digests(),
        row_bytes=ROW_BYTES,
        chunk_frames=config.records.chunk_frames,
        overlap_frames=config.records.overlap_frames,
        config=content_config(config),
        input_hash=job["input_hash"],
        splits=shards,
        stats=stats,
        rejects=rejects,
        players=[
            PlayerEntry(id=index + 1, player=name, games=games)
            for index, (name, games) in enumerate(ranked)
        ],
        totals=_totals(shards, stats, rejects, num_files=job["num_files"]),
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

"""The stages of the jobs: labelled PTransforms around plain functions.

The graph is one line, with the kind of an element in the element itself. Tagged outputs and side
branches are left out because Dask's runner sends every tag to every consumer and drops all branches
but one, silently; a DoFn's `finish_bundle` outputs are dropped there too, so elements that are
worked on together arrive as one batch.

    replays → List → Scan → (all headers) → Plan → Encode → (by shard) → WriteShards
            → (all entries) → WriteManifest

No element's content depends on the bundle or the process it went through, and shards are sorted by
key: every runner writes the same bytes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apache_beam as beam

from beam_pipelines import spill, storage
from beam_pipelines.game_records import (
    EncodedGame,
    EncodeItem,
    GameTask,
    Scanned,
    encode_game,
    scan_source,
)
from beam_pipelines.libraries import library_versions
from beam_pipelines.plan import Plan, plan, reject
from beam_pipelines.progress import Count, Reporter
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
from exphil_tf.replays.errors import ReplayError
from exphil_tf.replays.isolation import IsolatedPool
from exphil_tf.replays.sources import Found, Refused, Source

SCAN_BATCH = 64
_READ_THREADS = 8
_SHARD, _GAME, _REJECT, _TALLY, _PLAN = "shard", "game", "reject", "tally", "plan"
"""Kinds of elements, the first word of their keys."""

Element = tuple[str, bytes]
_Value = TypeVar("_Value")


Batch = tuple[list[Source], list[Refused]]


def source_batches(found: Found) -> list[Batch]:
    """What was found, in lots that one call scans together."""
    starts = range(0, len(found.sources), SCAN_BATCH)
    return [
        ([], found.refused),
        *((found.sources[start : start + SCAN_BATCH], []) for start in starts),
    ]


class ListReplays(beam.DoFn):
    """Paths → batches of sources, and of what was refused while listing."""

    def process(self, element: Sequence[str]) -> Iterator[Batch]:
        """Finds the replays of all given paths."""
        yield from source_batches(storage.find(element))


class Sources(beam.PTransform):
    """The input files, as batches.

    Args:
      replays: paths; listed by a worker if `found` is None, so that a large list needn't fit into
        the job's description.
      found: what lies there. A list in the graph is what lets Dask partition the work.
    """

    def __init__(self, replays: Sequence[str], found: Found | None = None):
        super().__init__()
        self._replays = list(replays)
        self._found = found

    def expand(self, input_or_inputs: beam.Pipeline) -> Any:
        """Builds this part of the graph."""
        pipeline = input_or_inputs
        if self._found is not None:
            batches = pipeline | "Files" >> beam.Create(
                source_batches(self._found), reshuffle=False
            )
        else:
            paths = pipeline | "Paths" >> beam.Create([self._replays])
            batches = paths | "List" >> beam.ParDo(ListReplays())
        return batches | "SpreadFiles" >> beam.Reshuffle()


class ScanBatch(beam.DoFn):
    """Sources → what their headers say. Threads: reading and hashing release the GIL.

    Args:
      progress: folder for the counts, or None.
    """

    def __init__(self, progress: str | None = None):
        self._progress = progress

    def setup(self) -> None:
        """Starts the readers."""
        self._threads = ThreadPoolExecutor(min(_READ_THREADS, os.cpu_count() or 1))
        self._reporter = Reporter(self._progress)

    def process(self, element: Batch) -> Iterator[tuple[int, tuple[list[Scanned], list[Refused]]]]:
        """Scans a batch; the key is the same for all."""
        found, refused = element
        scans = list(self._threads.map(scan, found))
        self._reporter.add(Count(scanned=len(scans)), now=True)
        yield 0, (scans, refused)

    def teardown(self) -> None:
        """Stops the readers."""
        self._threads.shutdown()


def scan(source: Source) -> Scanned:
    """`scan_source`, wherever the file lies."""
    if not storage.is_remote(source.path):
        return scan_source(source)
    try:
        return scan_source(source, storage.read(source))
    except ReplayError as error:
        return Scanned(source, reason=str(error.reason), detail=error.detail)


class PlanGames(beam.DoFn):
    """All scans → batches of tasks, and elements with the rejects and the plan."""

    def __init__(self, config: DatasetConfig):
        self._config = config

    def process(
        self, element: tuple[int, Iterable[tuple[list[Scanned], list[Refused]]]]
    ) -> Iterator[tuple[list[GameTask], list[Element]]]:
        """Decides; see `beam_pipelines.plan`."""
        scans: list[Scanned] = []
        refused: list[Refused] = []
        for some, others in element[1]:
            scans.extend(some)
            refused.extend(others)
        decided = plan(scans, refused, self._config)
        yield [], [*map(_reject_element, decided.rejects), (_PLAN, _plan_bytes(decided))]
        for batch in decided.batches():
            yield batch, []


def _reject_element(line: dict[str, Any]) -> Element:
    return _REJECT, json.dumps(line).encode()


def _plan_bytes(decided: Plan) -> bytes:
    facts = {
        "input_hash": decided.input_hash,
        "num_files": decided.num_files,
        "players": list(decided.registry.players.items()),
    }
    return json.dumps(facts).encode()


class _GameDoFn(beam.DoFn):
    """Works on batches of games in processes that may die.

    Args:
      config: of the job.
      processes: parsing processes of this worker.
      progress: folder for the counts, or None.
    """

    def __init__(self, config: DatasetConfig, *, processes: int, progress: str | None):
        self._config = config
        self._processes = processes
        self._progress = progress

    def setup(self) -> None:
        """Prepares the pool, whose processes start with the first game."""
        # Dask's workers are daemons, and daemons may have no children; ours end with `teardown`.
        multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        self._pool = IsolatedPool(self._processes, limits=self._config.worker.limits)
        self._reporter = Reporter(self._progress)

    def _results(
        self, function: Callable[[EncodeItem], _Value], tasks: list[GameTask]
    ) -> Iterator[tuple[GameTask, _Value | ReplayError]]:
        results = self._pool.map_ordered(function, map(self._item, tasks))
        return zip(tasks, results, strict=True)

    def _item(self, task: GameTask) -> EncodeItem:
        data = None
        if storage.is_remote(task.source.path):
            try:
                data = storage.read(task.source)
            except ReplayError:
                data = b""  # refused by the worker as too small
        return EncodeItem(task, self._config.filters, self._config.records, data)

    def teardown(self) -> None:
        """Ends the pool's processes."""
        self._pool.close()


class InspectBatch(_GameDoFn):
    """Batches of tasks → one line of JSON per game; other elements pass.

    Args:
      function: module-level, from a game to a JSON-able dict.
      config, processes, progress: see `_GameDoFn`.
    """

    def __init__(
        self,
        function: Callable[[EncodeItem], dict[str, Any]],
        config: DatasetConfig,
        *,
        processes: int,
        progress: str | None = None,
    ):
        super().__init__(config, processes=processes, progress=progress)
        self._function = function

    def process(self, element: tuple[list[GameTask], list[Element]]) -> Iterator[Element]:
        """Inspects a batch."""
        tasks, others = element
        yield from others
        for task, result in self._results(self._function, tasks):
            self._reporter.add(Count(done=1))
            if isinstance(result, ReplayError):
                line = reject(task.source.label, task.sha256, result.reason, detail=result.detail)
                yield _reject_element(line)
            else:
                facts = {"file": task.source.label, "key": task.key, "sha256": task.sha256}
                yield _GAME, json.dumps(facts | result).encode()
        self._reporter.add(Count(), now=True)


class EncodeBatch(_GameDoFn):
    """Batches of tasks → records, each a part of a shard.

    Args:
      config, processes: see `_GameDoFn`.
      spill_folder: where encoded games wait; None keeps them in the elements.
    """

    def __init__(self, config: DatasetConfig, *, processes: int, spill_folder: str | None):
        super().__init__(config, processes=processes, progress=spill_folder)

    def setup(self) -> None:
        """Prepares the pool and the spill file."""
        super().setup()
        self._spill = spill.Spill(self._progress)

    def process(self, element: tuple[list[GameTask], list[Element]]) -> Iterator[Element]:
        """Encodes a batch; other elements pass."""
        tasks, others = element
        yield from others
        self._reporter.add(Count(done=sum(key == _REJECT for key, _ in others)))
        tallies: dict[str, Tally] = {}
        for task, result in self._results(encode_game, tasks):
            yield from self._elements(task, result)
            if isinstance(result, EncodedGame) and result.perspectives:
                tallies[task.split] = add(tallies.get(task.split, {}), result.tally)
                self._reporter.add(Count(done=1, games=1, frames=result.frames))
            else:
                self._reporter.add(Count(done=1))
        self._spill.flush()
        self._reporter.add(Count(), now=True)
        for split, tally in tallies.items():
            yield f"{_TALLY}/{split}", json.dumps(tally).encode()

    def _elements(self, task: GameTask, result: EncodedGame | ReplayError) -> Iterator[Element]:
        label = task.source.label
        if isinstance(result, ReplayError):
            yield _reject_element(reject(label, task.sha256, result.reason, detail=result.detail))
        elif not result.perspectives:
            yield _reject_element(
                reject(label, task.sha256, result.exclusion, detail=result.detail)
            )
        else:
            yield _GAME, json.dumps(_game_line(task, result)).encode()
            for variant, data in result.variants.items():
                name = ShardName(task.split, variant, task.shard, task.num_shards)
                header = {"key": task.key, "records": result.num_records, "frames": result.frames}
                yield f"{_SHARD}/{name.path}", self._spill.pack(header, data)

    def teardown(self) -> None:
        """Ends the pool's processes; the spill file stays for those who read it."""
        super().teardown()
        self._spill.close()


def _game_line(task: GameTask, result: EncodedGame) -> dict[str, Any]:
    return {
        "key": task.key,
        "file": task.source.label,
        "sha256": task.sha256,
        "split": task.split,
        "shard": task.shard,
        "frames": result.frames,
        "perspectives": result.perspectives,
        "player_ids": list(task.player_ids),
        "characters": list(result.characters),
        "stage": result.stage,
        "note": result.note,
    }


class WriteGroup(beam.DoFn):
    """Elements of one key → a shard on disk, or their sum; each leaves one small element behind."""

    def __init__(self, output: str):
        self._output = output

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[tuple[int, Element]]:
        """Writes or gathers a group."""
        key, values = element
        kind, _, name = key.partition("/")
        if kind == _SHARD:
            yield 0, (key, write_shard(self._output, name, values).model_dump_json().encode())
        elif kind == _TALLY:
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
            "games": _write_lines(output, manifests.GAMES, groups.get(_GAME, b"")),
            "rejected": _write_lines(output, manifests.REJECTED, groups.get(_REJECT, b"")),
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
    decided = json.loads(groups[_PLAN])
    shards: dict[str, dict[str, list[ShardEntry]]] = {}
    stats: dict[str, SplitStats] = {}
    for key, value in sorted(groups.items()):
        kind, _, name = key.partition("/")
        if kind == _SHARD:
            place = ShardName.parse(name)
            entries = shards.setdefault(place.split, {}).setdefault(place.variant, [])
            entries.append(ShardEntry.model_validate_json(value))
        elif kind == _TALLY:
            stats[name] = SplitStats.model_validate_json(value)
    rejects: dict[str, int] = {}
    for line in groups.get(_REJECT, b"").splitlines():
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


class BuildDataset(beam.PTransform):
    """The whole line, from paths to a finished dataset.

    Args:
      config: of the job.
      processes: parsing processes per Beam worker.
      spill_folder: where encoded games wait; None keeps them in the elements.
      found: the input files; None lets a worker list them.
    """

    def __init__(
        self,
        config: DatasetConfig,
        *,
        processes: int,
        spill_folder: str | None,
        found: Found | None = None,
    ):
        super().__init__()
        self._found = found
        self._config = config
        self._processes = processes
        self._spill_folder = spill_folder

    def expand(self, input_or_inputs: beam.Pipeline) -> Any:
        """Builds the graph."""
        encode = EncodeBatch(
            self._config, processes=self._processes, spill_folder=self._spill_folder
        )
        return (
            input_or_inputs
            | Sources(self._config.replays, self._found)
            | "Scan" >> beam.ParDo(ScanBatch(self._spill_folder))
            | "AllHeaders" >> beam.GroupByKey()
            | "Plan" >> beam.ParDo(PlanGames(self._config))
            | "SpreadGames" >> beam.Reshuffle()
            | "Encode" >> beam.ParDo(encode)
            | "ByShard" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(WriteGroup(self._config.output))
            | "AllEntries" >> beam.GroupByKey()
            | "WriteManifest" >> beam.ParDo(WriteManifest(self._config))
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


class InspectGames(beam.PTransform):
    """The line from paths to one line of JSON per game, and per file that is none.

    Args:
      function: module-level, from a game to a JSON-able dict.
      config: of the job; its output folder takes `game.jsonl`, `reject.jsonl` and `plan.jsonl`.
      processes: parsing processes per Beam worker.
      found: the input files.
    """

    def __init__(
        self,
        function: Callable[[EncodeItem], dict[str, Any]],
        config: DatasetConfig,
        *,
        processes: int,
        found: Found | None = None,
    ):
        super().__init__()
        self._config = config
        self._found = found
        self._inspect = InspectBatch(function, config, processes=processes, progress=config.output)

    def expand(self, input_or_inputs: beam.Pipeline) -> Any:
        """Builds the graph."""
        return (
            input_or_inputs
            | Sources(self._config.replays, self._found)
            | "Scan" >> beam.ParDo(ScanBatch(self._config.output))
            | "AllHeaders" >> beam.GroupByKey()
            | "Plan" >> beam.ParDo(PlanGames(self._config))
            | "SpreadGames" >> beam.Reshuffle()
            | "Inspect" >> beam.ParDo(self._inspect)
            | "ByKind" >> beam.GroupByKey()
            | "WriteLines" >> beam.ParDo(WriteLines(self._config.output))
        )

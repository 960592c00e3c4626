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
from beam_pipelines.plan import Plan, plan, reject
from beam_pipelines.progress import Count, Reporter
from beam_pipelines.settings import DatasetConfig
from beam_pipelines.sinks import (
    GAME,
    PLAN,
    REJECT,
    SHARD,
    TALLY,
    Element,
    WriteGroup,
    WriteLines,
    WriteManifest,
)
from exphil_tf.records.shards import ShardName
from exphil_tf.records.stats import Tally, add
from exphil_tf.replays.errors import ReplayError
from exphil_tf.replays.isolation import IsolatedPool
from exphil_tf.replays.sources import Found, Refused, Source

SCAN_BATCH = 64
_READ_THREADS = 8
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
        yield from source_batches(storage.find(element, copy=False))


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
        yield [], [*map(_reject_element, decided.rejects), (PLAN, _plan_bytes(decided))]
        for batch in decided.batches():
            yield batch, []


def _reject_element(line: dict[str, Any]) -> Element:
    return REJECT, json.dumps(line).encode()


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
                yield GAME, json.dumps(facts | result).encode()
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
        self._reporter.add(Count(done=sum(key == REJECT for key, _ in others)))
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
            yield f"{TALLY}/{split}", json.dumps(tally).encode()

    def _elements(self, task: GameTask, result: EncodedGame | ReplayError) -> Iterator[Element]:
        label = task.source.label
        if isinstance(result, ReplayError):
            yield _reject_element(reject(label, task.sha256, result.reason, detail=result.detail))
        elif not result.perspectives:
            yield _reject_element(
                reject(label, task.sha256, result.exclusion, detail=result.detail)
            )
        else:
            yield GAME, json.dumps(_game_line(task, result)).encode()
            for variant, data in result.variants.items():
                name = ShardName(task.split, variant, task.shard, task.num_shards)
                header = {"key": task.key, "records": result.num_records, "frames": result.frames}
                yield f"{SHARD}/{name.path}", self._spill.pack(header, data)

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

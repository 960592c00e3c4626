"""The stages of the jobs: labelled PTransforms around plain functions.

The graph is one line, with the kind of an element in the element itself. Tagged outputs and side
branches are left out because Dask's runner sends every tag to every consumer and drops all branches
but one, silently; a DoFn's `finish_bundle` outputs are dropped there too, so elements that are
worked on together arrive as one batch.

    replays → List → Scan → (all headers) → Schedule → Encode → (all games) → Place
            → (by shard) → WriteShards → (all entries) → WriteManifest

No element's content depends on the bundle or the process it went through, and shards are sorted by
key: every runner writes the same bytes. What a file claims about itself decides only when it is
parsed; see `exphil_tf.preprocessing.placement`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import apache_beam as beam

from beam_pipelines import spill, storage
from beam_pipelines.sinks import (
    GAME,
    JOB,
    PLAYERS,
    REJECT,
    SHARD,
    Element,
    WriteGroup,
    WriteLines,
    WriteManifest,
    game_line,
    shard_part,
)
from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.preprocessing.game_records import (
    EncodedGame,
    EncodeItem,
    GameTask,
    ParsedGame,
    Scanned,
    encode_game,
    scan_source,
)
from exphil_tf.preprocessing.job_progress import Count, Reporter
from exphil_tf.preprocessing.placement import MAX_FILES, Enough, Lot, place, reject, schedule
from exphil_tf.process.cores import usable_cores
from exphil_tf.records.shards import ShardName
from exphil_tf.replays import players
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.isolation import IsolatedPool
from exphil_tf.replays.refusals import ReplayError
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
      config: of the job: which games are wanted, as far as headers tell, and the players' key.
      progress: folder for the counts, or None.
    """

    def __init__(self, config: DatasetConfig, progress: str | None = None):
        self._scan = partial(scan, config=config.filters, key=config.records.pseudonym_key)
        self._progress = progress

    def setup(self) -> None:
        """Starts the readers."""
        self._threads = ThreadPoolExecutor(min(_READ_THREADS, usable_cores()))
        self._reporter = Reporter(self._progress)

    def process(self, element: Batch) -> Iterator[tuple[int, tuple[list[Scanned], list[Refused]]]]:
        """Scans a batch; the key is the same for all."""
        found, refused = element
        scans = list(self._threads.map(self._scan, found))
        self._reporter.add(Count(scanned=len(scans)), now=True)
        yield 0, (scans, refused)

    def teardown(self) -> None:
        """Stops the readers."""
        self._threads.shutdown()


def scan(
    source: Source, config: FilterConfig | None = None, *, key: str = players.PUBLIC_KEY
) -> Scanned:
    """`scan_source`, wherever the file lies."""
    if not storage.is_remote(source.path):
        return scan_source(source, config=config, key=key)
    try:
        return scan_source(source, storage.read(source), config=config, key=key)
    except ReplayError as error:
        return Scanned(source, reason=str(error.reason), detail=error.detail)


Work = tuple[Lot, list[Element]]
"""Files to parse, and elements that pass."""


class ScheduleGames(beam.DoFn):
    """All scans → lots of files to parse, and elements with the rejects and facts of the job."""

    def __init__(self, config: DatasetConfig):
        self._config = config

    def process(
        self, element: tuple[int, Iterable[tuple[list[Scanned], list[Refused]]]]
    ) -> Iterator[Work]:
        """Orders the work; see `exphil_tf.preprocessing.placement`."""
        scans: list[Scanned] = []
        refused: list[Refused] = []
        for some, others in element[1]:
            scans.extend(some)
            refused.extend(others)
        work = schedule(scans, refused, self._config)
        facts = {"input_hash": work.input_hash, "num_files": work.num_files}
        yield Lot([]), [*map(_reject_element, work.rejects), (JOB, json.dumps(facts).encode())]
        for lot in work.lots:
            yield lot, []


def _reject_element(line: dict[str, Any]) -> Element:
    return REJECT, json.dumps(line).encode()


def _reject_task(task: GameTask, reason: str, detail: str = "") -> Element:
    return _reject_element(reject(task.source.label, task.sha256, reason, detail=detail))


class _GameDoFn(beam.DoFn):
    """Works on lots of files in processes that may die.

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
        self, function: Callable[[EncodeItem], _Value], lot: Lot
    ) -> Generator[tuple[GameTask, _Value | ReplayError]]:
        results = self._pool.map_ordered(function, map(self._item, lot.tasks))
        with contextlib.closing(results):
            yield from zip(lot.tasks, results, strict=True)

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
    """Lots of files → one line of JSON per file; other elements pass.

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

    def process(self, element: Work) -> Iterator[Element]:
        """Inspects a lot."""
        lot, others = element
        yield from others
        for task, result in self._results(self._function, lot):
            self._reporter.add(Count(done=1))
            if isinstance(result, ReplayError):
                yield _reject_task(task, result.reason, result.detail)
            else:
                facts = {"file": task.source.label, "key": task.identity, "sha256": task.sha256}
                yield GAME, json.dumps(facts | result).encode()
        self._reporter.add(Count(), now=True)


class EncodeBatch(_GameDoFn):
    """Lots of files → games that wait for their place, and rejects; the key is the same for all.

    Args:
      config, processes, progress: see `_GameDoFn`.
      spill_folder: where encoded games wait.
    """

    def __init__(
        self, config: DatasetConfig, *, processes: int, spill_folder: str, progress: str | None
    ):
        super().__init__(config, processes=processes, progress=progress)
        self._spill_folder = spill_folder

    def process(self, element: Work) -> Iterator[tuple[int, Element | ParsedGame]]:
        """Encodes a lot; other elements pass."""
        lot, others = element
        self._reporter.add(Count(done=sum(key == REJECT for key, _ in others)))
        yield from ((0, other) for other in others)
        written = spill.Spill(self._spill_folder)
        with contextlib.closing(written):
            for task, result in self._until_enough(lot):
                yield 0, self._keep(task, result, written)
        self._reporter.add(Count(), now=True)

    def _until_enough(self, lot: Lot) -> Generator[tuple[GameTask, EncodedGame | ReplayError]]:
        """Results in order; files behind the limit are left out unseen."""
        enough = Enough(lot.limit, skip_duplicates=self._config.filters.skip_duplicates)
        done = 0
        with contextlib.closing(self._results(encode_game, lot)) as results:
            for task, result in results:
                if enough.before(task):
                    break
                done += 1
                if isinstance(result, EncodedGame) and result.game is not None:
                    enough.add(task.identity)
                yield task, result
        for task in lot.tasks[done:]:
            yield task, EncodedGame(None, MAX_FILES)

    def _keep(
        self, task: GameTask, result: EncodedGame | ReplayError, written: spill.Spill
    ) -> Element | ParsedGame:
        if isinstance(result, ReplayError):
            self._reporter.add(Count(done=1))
            return _reject_task(task, result.reason, result.detail)
        if result.game is None:
            self._reporter.add(Count(done=1))
            return _reject_task(task, result.exclusion, result.detail)
        self._reporter.add(Count(done=1, games=1, frames=result.game.frames))
        return result.game._replace(place=written.append(result.parts))


class PlaceGames(beam.DoFn):
    """All games → what goes into each shard and list."""

    def __init__(self, config: DatasetConfig):
        self._config = config

    def process(self, element: tuple[int, Iterable[Element | ParsedGame]]) -> Iterator[Element]:
        """Decides; see `exphil_tf.preprocessing.placement`."""
        games: list[ParsedGame] = []
        for one in element[1]:
            if isinstance(one, ParsedGame):
                games.append(one)
            else:
                yield one
        decided = place(games, self._config)
        yield from map(_reject_element, decided.rejects)
        yield PLAYERS, json.dumps(list(decided.registry.players.items())).encode()
        for one in decided.games:
            yield GAME, json.dumps(game_line(one)).encode()
            for part, variant in enumerate(self._config.records.all_variants, start=1):
                name = ShardName(one.split, variant, one.shard, one.num_shards)
                yield f"{SHARD}/{name.path}", shard_part(one, part)


class BuildDataset(beam.PTransform):
    """The whole line, from paths to a finished dataset.

    Args:
      config: of the job.
      processes: parsing processes per Beam worker.
      spill_folder: where encoded games wait, on a disk or store that all workers reach; on a disk
        it also takes the counts of progress.
      found: the input files; None lets a worker list them.
    """

    def __init__(
        self,
        config: DatasetConfig,
        *,
        processes: int,
        spill_folder: str,
        found: Found | None = None,
    ):
        super().__init__()
        self._found = found
        self._config = config
        self._processes = processes
        self._spill_folder = spill_folder

    def expand(self, input_or_inputs: beam.Pipeline) -> Any:
        """Builds the graph."""
        progress = None if storage.is_remote(self._spill_folder) else self._spill_folder
        encode = EncodeBatch(
            self._config,
            processes=self._processes,
            spill_folder=self._spill_folder,
            progress=progress,
        )
        return (
            input_or_inputs
            | Sources(self._config.replays, self._found)
            | "Scan" >> beam.ParDo(ScanBatch(self._config, progress))
            | "AllHeaders" >> beam.GroupByKey()
            | "Schedule" >> beam.ParDo(ScheduleGames(self._config))
            | "SpreadGames" >> beam.Reshuffle()
            | "Encode" >> beam.ParDo(encode)
            | "AllGames" >> beam.GroupByKey()
            | "Place" >> beam.ParDo(PlaceGames(self._config))
            | "ByShard" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(WriteGroup(self._config.output))
            | "AllEntries" >> beam.GroupByKey()
            | "WriteManifest" >> beam.ParDo(WriteManifest(self._config, self._spill_folder))
        )


class InspectGames(beam.PTransform):
    """The line from paths to one line of JSON per file; those of one game are all there.

    Args:
      function: module-level, from a game to a JSON-able dict.
      config: of the job; its output folder takes `game.jsonl`, `reject.jsonl` and `job.jsonl`.
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
            | "Scan" >> beam.ParDo(ScanBatch(self._config, self._config.output))
            | "AllHeaders" >> beam.GroupByKey()
            | "Schedule" >> beam.ParDo(ScheduleGames(self._config))
            | "SpreadGames" >> beam.Reshuffle()
            | "Inspect" >> beam.ParDo(self._inspect)
            | "ByKind" >> beam.GroupByKey()
            | "WriteLines" >> beam.ParDo(WriteLines(self._config.output))
        )

"""Measures trained policies on games they have not seen, against baselines.

    python -m exphil_tf.evaluate RUN --data DATASET
    python -m exphil_tf.evaluate RUN RUN BUNDLE … --data DATASET

Prints a table, and writes `evaluation.json` and a self-contained `evaluation.html`. Several runs
and exported bundles stand side by side in `comparison.json` and `comparison.html`, with pages of
the games on which they differ most. With `--watch` it scores a run's checkpoints as they appear,
from another process, until the run ends.
"""

import errno
import functools
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console

from beam_pipelines.cached_dataset import DatasetRequest
from exphil_tf.checkpoints.provenance import nested
from exphil_tf.data.input_config import InputConfig
from exphil_tf.evaluation.evaluation_config import EvaluationConfig, of_one_policy
from exphil_tf.evaluation.policy_evaluation import evaluate
from exphil_tf.evaluation.results import Measured
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import Loaded, load_given, refuse_given
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind, fields_of, option
from exphil_tf.process.console import make_console, wide_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.records.manifest import MANIFEST
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.players import key_of
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.run_folder import CONFIG_JSON, find_bundle, read_json
from exphil_tf.training.train_config import DataConfig

PROG = "python -m exphil_tf.evaluate"
_OF_SEVERAL = frozenset({"view_games"})
_COMPARISON = Path("comparison")


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures a trained policy against four baselines on the same frames, or several policies."""

    KIND: ClassVar = Kind.RESULT

    run: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, of policy bundles (a run's policy/) or of exported bundles; more than one
    are put side by side."""
    data: Path | None = None
    """Folder of a dataset (python -m exphil_tf.preprocess); without it and --replays, the one that
    the policy was trained on."""
    replays: tuple[str, ...] = option((), kind=Kind.SOURCE)
    """Folders, .slp files, zips or tars instead; preprocessed first. Half of the games are
    measured, baselines are fitted to the others."""
    max_files: int | None = None
    """At most this many games of --replays."""
    datasets_dir: str = "datasets"
    """Where datasets made of --replays are kept, by content."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    output: Path | None = None
    """Folder for evaluation.json and evaluation.html; none means RUN/evaluation/SPLIT. Of several
    policies, and of an exported one, for comparison.json, comparison.html and pages of games; none
    means ./comparison."""
    csv: Path | None = option(None, kind=Kind.PLACE)
    """Also write a line per policy and matchup (character, opponent, stage) to this file."""
    view_games: int = 2
    """Of several policies: games to write each one's opinion of as a page to look at, those on
    which they differ most."""
    watch: bool = False
    """Score the run's checkpoints as they appear, until it ends or Ctrl-C: a line each, also in
    watch.jsonl, instead of the report."""
    poll_seconds: float = option(10.0, only_with={"watch": True})
    """How often --watch looks for a new checkpoint."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if self.replays and self.data is not None:
            raise ValueError("replays and data: want one of them. Received: both")
        if self.max_files is not None and self.max_files < 1:
            raise ValueError(f"max_files: want at least 1. Received: {self.max_files}")
        if self.view_games < 0:
            raise ValueError(f"view_games: want at least 0. Received: {self.view_games}")
        if not 0 < self.poll_seconds < math.inf:
            raise ValueError(f"poll_seconds: want above 0. Received: {self.poll_seconds}")


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    loaded = load_given(EvaluateConfig, argv, prog=PROG)
    config = loaded.config
    is_one = len(config.run) == 1 and not _is_exported(config.run[0])
    _refuse_in_vain(loaded, is_one=is_one)
    console = make_console()
    _make_places(config, is_one=is_one)
    data = _data(config, console)
    if config.watch:
        _watch(config, data, console)
    elif is_one:
        _evaluate_one(config, data, console)
    else:
        _compare(config, data, console)
    return 0


def _refuse_in_vain(loaded: Loaded[EvaluateConfig], *, is_one: bool) -> None:
    """Raises UserError for an option of one policy beside several, and the other way round."""
    vain = _OF_SEVERAL if is_one else of_one_policy() | {"watch", "poll_seconds"}
    what = "several policies" if is_one else "one policy that was not exported"
    refuse_given(loaded.given, vain, why=f"of {what}, has no effect here")
    if not loaded.config.replays:
        of_replays = {*fields_of(FilterConfig), "max_files", "datasets_dir"}
        why = "has no effect without --replays, as a dataset is what it is"
        refuse_given(loaded.given, of_replays, why=why)


def _make_places(config: EvaluateConfig, *, is_one: bool) -> None:
    """Makes the folders that results go to, so that a wrong path is told before minutes of work.

    Raises: OSError: if one cannot be made or is finished, or `--csv` is a folder.
    """
    output = config.output or (None if is_one else _COMPARISON)
    for folder in (output, config.csv and config.csv.parent):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            atomic.require_unpublished(folder, (atomic.CHECKSUMS, MANIFEST))
    if config.csv is not None and config.csv.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(config.csv))


def _evaluate_one(config: EvaluateConfig, data: Path, console: Console) -> None:
    began = time.monotonic()
    evaluation, paths = evaluate(
        config.run[0],
        data,
        config.evaluation,
        output=config.output,
        console=console,
        key=key_of(os.environ),
    )
    from exphil_tf.evaluation import table

    table.show(console, evaluation)
    console.print(
        f"{evaluation.policy.frames:,} frames in {time.monotonic() - began:.0f} s", markup=False
    )
    everything = {"policy": evaluation.policy, **evaluation.baselines}
    rows = {name: Measured(evaluation.provenance, found) for name, found in everything.items()}
    _say_written(console, [*paths, *_write_csv(config, rows)])


def _compare(config: EvaluateConfig, data: Path, console: Console) -> None:
    """Puts policies side by side, and writes pages of the games on which they differ most."""
    from exphil_tf.agents.compared_games import write_game_pages
    from exphil_tf.evaluation import comparison, comparison_report
    from exphil_tf.evaluation.policy_comparison import compare

    of, output = config.evaluation, config.output or _COMPARISON
    done = compare(config.run, data, of, console=console, key=key_of(os.environ))
    found = done.found
    shown = found.games[: config.view_games] if len(done.policies) > 1 else []
    with console.status("writing pages of games"):
        pages = write_game_pages(
            [game.key for game in shown],
            done.policies,
            manifest=done.dataset.manifest,
            folder=done.dataset.folder,
            split=of.split,
            reading=done.reading,
            output=output,
        )
    paths = comparison_report.write(found, done.facts, output, curves=done.curves, pages=pages)
    tables = wide_console()
    tables.print(comparison.table(found.everything), "", sep="\n")
    tables.print(comparison.matchup_table(found.policies), "", sep="\n")
    for note in comparison_report.notes(found):
        console.print(f" - {note}")
    for game in shown:
        nats = ", ".join(f"{name} {value:.3f}" for name, value in game.nats.items())
        console.print(f" - {' – '.join(game.characters)}, {game.stage}: {nats}")
    linked = [output / page for by_policy in pages.values() for page in by_policy.values()]
    _say_written(console, [*paths, *_write_csv(config, found.everything), *linked])


def _write_csv(config: EvaluateConfig, rows: Mapping[str, Measured]) -> list[Path]:
    from exphil_tf.evaluation import comparison

    if config.csv is None:
        return []
    atomic.write_bytes(config.csv, comparison.to_csv(rows).encode())
    return [config.csv]


def _say_written(console: Console, paths: Iterable[Path]) -> None:
    for path in paths:
        console.print(f"wrote {path}", markup=False)


def _data(config: EvaluateConfig, console: Console) -> Path:
    """The dataset to measure on: as given, made of replays, or the policy's own.

    Raises: UserError: if there is none.
    """
    if config.data is not None:
        return config.data
    if config.replays:
        data = DataConfig(config.replays, None, config.datasets_dir, config.max_files)
        halves = SplitConfig(val_split=0.5)
        request = DatasetRequest(data, InputConfig(), config.filters, halves)
        dataset = request.open(console, environ=os.environ, dry_run=False)
        assert isinstance(dataset, Dataset)  # it is no dry run
        return dataset.folder
    first = config.run[0]
    bundle = first if _is_exported(first) else find_bundle(first)
    facts = read_json(bundle / CONFIG_JSON).get("provenance")
    facts = nested(facts, "training") or facts  # of an exported bundle
    folder = nested(facts, "data", "folder")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        raise UserError(
            f"{first}: the dataset that it was trained on is not here",
            "Give --data DATASET or --replays DIR.",
            exit_code=EXIT_NO_INPUT,
        )
    console.print(f"data: {folder}, on which {first} was trained")
    return Path(folder)


def _is_exported(folder: Path) -> bool:
    from exphil_tf.inference.session import MODEL  # imports ONNX Runtime

    return (folder / MODEL).is_file()


def _watch(config: EvaluateConfig, data: Path, console: Console) -> None:
    from exphil_tf.evaluation import watch

    watch.watch(
        config.run[0],
        data,
        config.evaluation,
        output=config.output,
        console=console,
        sleep=functools.partial(time.sleep, config.poll_seconds),
    )


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

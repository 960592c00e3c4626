"""Measures a trained policy on games it has not seen, against four baselines.

    python -m exphil_tf.evaluate RUN --data DATASET

Prints a table, and writes `evaluation.json` and a self-contained `evaluation.html`. With `--watch`
it scores a run's checkpoints as they appear, from another process, until the run ends.
"""

import functools
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console

from beam_pipelines.cached_dataset import DatasetRequest
from exphil_tf.data.input_config import InputConfig
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.policy_evaluation import evaluate
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.process.console import make_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.players import key_of
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.run_folder import CONFIG_JSON, find_bundle, read_json
from exphil_tf.training.train_config import DataConfig

PROG = "python -m exphil_tf.evaluate"


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures a trained policy against four baselines on the same frames."""

    KIND: ClassVar = Kind.RESULT

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of a policy bundle (a run's policy/)."""
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
    """Folder for evaluation.json and evaluation.html; none means RUN/evaluation/SPLIT."""
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
        if not 0 < self.poll_seconds < math.inf:
            raise ValueError(f"poll_seconds: want above 0. Received: {self.poll_seconds}")


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    config = load(EvaluateConfig, argv, prog=PROG)
    console = make_console()
    data = _data(config, console)
    if config.watch:
        _watch(config, data, console)
        return 0
    began = time.monotonic()
    evaluation, paths = evaluate(
        config.run,
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
    for path in paths:
        console.print(f"wrote {path}", markup=False)
    return 0


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
    facts = read_json(find_bundle(config.run) / CONFIG_JSON).get("provenance", {})
    folder = facts.get("data", {}).get("folder")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        raise UserError(
            f"{config.run}: the dataset that it was trained on is not here",
            "Give --data DATASET or --replays DIR.",
            exit_code=EXIT_NO_INPUT,
        )
    console.print(f"data: {folder}, on which the policy was trained")
    return Path(folder)


def _watch(config: EvaluateConfig, data: Path, console: Console) -> None:
    from exphil_tf.evaluation import watch

    watch.watch(
        config.run,
        data,
        config.evaluation,
        output=config.output,
        console=console,
        sleep=functools.partial(time.sleep, config.poll_seconds),
    )


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

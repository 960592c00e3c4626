"""`python -m benchmarks [--only preprocess input training] [--replays DIR]`.

Without replays, sample games are made. Ratios are between figures of the same run, so that they
hold on a busy machine as well; absolute figures do not.
"""

import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.report import Report
from benchmarks.timing import machine
from exphil_tf.config import load
from exphil_tf.errors import run
from exphil_tf.process.console import make_console

PROG = "python -m benchmarks"
_WIDTH = 132
Subject = Literal["preprocess", "input", "training"]


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measures preprocessing, input and training on this machine."""

    only: tuple[Subject, ...] = ("preprocess", "input", "training")
    """Subjects to measure."""
    replays: tuple[str, ...] = ()
    """Folders or .slp files; none: sample games."""
    games: int = field(default=16)
    """Number of sample games."""
    output: Path = Path("benchmarks/results/latest.json")
    """Where the figures are written."""
    seconds: float = 5.0
    """Per row of input and training."""


@contextlib.contextmanager
def _work_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="exphil-benchmarks-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replays(config: BenchmarkConfig, work_dir: Path) -> list[str]:
    if config.replays:
        return list(config.replays)
    from exphil_tf import samples

    folder = work_dir / "samples"
    with contextlib.redirect_stdout(io.StringIO()):
        samples.main(["--output", str(folder), "--games", str(config.games), "--seed", "0"])
    return [str(folder)]


def _dataset(replays: Sequence[str], folder: Path) -> Path:
    from beam_pipelines.build_dataset import build_dataset
    from beam_pipelines.settings import DatasetConfig

    build_dataset(DatasetConfig(replays=tuple(replays), output=str(folder)))
    return folder


def measure(config: BenchmarkConfig) -> Iterator[tuple[str, Report]]:
    """Reports of the wanted subjects, one by one."""
    with _work_dir() as work_dir:
        replays = _replays(config, work_dir)
        if "preprocess" in config.only:
            from benchmarks import preprocessing

            yield "preprocess", preprocessing.run(replays, work_dir=work_dir)
        if not {"input", "training"} & set(config.only):
            return
        data = _dataset(replays, work_dir / "dataset")
        if "input" in config.only:
            from benchmarks import input as input_benchmark

            yield "input", input_benchmark.run(data, seconds=config.seconds)
        if "training" in config.only:
            from benchmarks import training

            yield "training", training.run(data, seconds=config.seconds)


def main(argv: Sequence[str]) -> int:
    """Measures, prints tables, writes JSON."""
    config = load(BenchmarkConfig, argv, prog=PROG)
    console = make_console(soft_wrap=False)
    if not console.is_terminal:
        console = make_console(width=_WIDTH, soft_wrap=False)
    results: dict[str, Any] = {"machine": machine()}
    config.output.parent.mkdir(parents=True, exist_ok=True)
    for subject, report in measure(config):
        console.print(report.table())
        results[subject] = report.to_dict()
        config.output.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    console.print(f"figures: {config.output}")
    return 0


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

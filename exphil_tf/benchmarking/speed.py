"""Speed of preprocessing, input, training and layers: subjects of `python -m exphil_tf.benchmark`.

Without replays, sample games are made. Ratios are between figures of the same run, so that they
hold on a busy machine as well; absolute figures do not.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from exphil_tf.benchmarking import host
from exphil_tf.benchmarking.benchmark_config import SpeedConfig
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.foundation import atomic
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.sim.sample_games import SampleConfig, write_games


@contextlib.contextmanager
def _work_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="exphil-benchmarks-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replays(config: SpeedConfig, work_dir: Path) -> list[str]:
    if config.replays:
        return list(config.replays)
    folder = work_dir / "samples"
    write_games(folder, SampleConfig(games=config.games))
    return [str(folder)]


def _dataset(replays: Sequence[str], folder: Path) -> Path:
    from beam_pipelines.build_dataset import build_dataset
    from exphil_tf.preprocessing.dataset_config import DatasetConfig

    build_dataset(DatasetConfig(replays=tuple(replays), output=str(folder)))
    return folder


def measure(config: SpeedConfig) -> Iterator[tuple[str, Report]]:
    """Reports of the wanted subjects, one by one."""
    if "layers" in config.subjects:
        with quiet_import():
            from exphil_tf.benchmarking import layer_speed

        yield from layer_speed.run(config.backbones)
    if not {"preprocess", "input", "training"} & set(config.subjects):
        return
    with _work_dir() as work_dir:
        replays = _replays(config, work_dir)
        if "preprocess" in config.subjects:
            from exphil_tf.benchmarking import preprocessing_speed

            yield "preprocess", preprocessing_speed.run(replays, work_dir=work_dir)
        if not {"input", "training"} & set(config.subjects):
            return
        data = _dataset(replays, work_dir / "dataset")
        if "input" in config.subjects:
            with quiet_import():
                from exphil_tf.benchmarking import input_speed

            yield "input", input_speed.run(data, seconds=config.seconds)
        if "training" in config.subjects:
            with quiet_import():
                from exphil_tf.benchmarking import training_speed

            yield "training", training_speed.run(data, config)


def run(config: SpeedConfig, console: Console) -> None:
    """Measures, prints tables, writes JSON after each subject."""
    results: dict[str, Any] = {"machine": host.describe()}
    config.output.parent.mkdir(parents=True, exist_ok=True)
    for subject, report in measure(config):
        console.print(report.table())
        results[subject] = report.to_dict()
        atomic.write_json(config.output, results)
    console.print(f"figures: {config.output}", markup=False)

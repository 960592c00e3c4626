"""Training: frames per second of the compiled step, and the share of it that waits for input."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.foundation.config import PRESETS, load
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.train_config import TrainConfig

if TYPE_CHECKING:
    from exphil_tf.training.imitation import ImitationLearner
    from exphil_tf.training.loop import TimedIterator

_SHAPES: dict[str, list[str]] = {
    "mamba 256 × 2, batch 64": ["--hidden", "256", "256", "--num-layers", "2"],
    "production preset": ["--preset", "production", "--warmup-steps", "1"],
}
_MIN_STEPS = 3


def _time(arguments: list[str], data: Path, *, seconds: float) -> dict[str, float]:
    from exphil_tf.training.imitation_setup import imitation_setup
    from exphil_tf.training.loop import TimedIterator

    common = ["--data", str(data), "--seed", "0"]
    config = load(TrainConfig, [*common, *arguments], prog="benchmarks", presets=PRESETS)
    dataset = Dataset(data, load_manifest(data))
    with imitation_setup(config.imitation(dataset.manifest.unrecorded()), dataset) as setup:
        figures = _time_updates(setup.imitation, TimedIterator(iter(setup.data.batches())), seconds)
    batches = config.optimizer.accumulation_steps  # of an update
    frames = config.run.batch_size * config.input.window_size * batches
    return {
        "frames/s": frames / figures["s/step"],
        **figures,
        "frames/step": frames,
        "parameters": setup.imitation.policy.count_params(),
    }


def _time_updates(
    learner: "ImitationLearner", batches: "TimedIterator", seconds: float
) -> dict[str, float]:
    compile_s = -time.perf_counter()
    learner.update(batches, step=0)
    learner.take_report()  # waits for the device
    compile_s += time.perf_counter()
    batches.waited_s = elapsed_s = 0.0
    steps = 0
    while steps < _MIN_STEPS or elapsed_s < seconds:
        start = time.perf_counter()
        learner.update(batches, step=steps + 1)
        learner.take_report()
        elapsed_s += time.perf_counter() - start
        steps += 1
    return {
        "s/step": elapsed_s / steps,
        "waiting for input, %": 100 * batches.waited_s / elapsed_s,
        "compile, s": compile_s,
    }


def run(data: Path, *, seconds: float) -> Report:
    """Times steps of the usual shapes.

    Args:
      data: a finished dataset.
      seconds: per shape, once it is compiled.
    """
    rows = {name: _time(flags, data, seconds=seconds) for name, flags in _SHAPES.items()}
    columns = tuple(dict.fromkeys(name for row in rows.values() for name in row))
    note = "Every step is waited for, so that time between steps is the input's alone."
    return Report("Training steps", columns, rows, (note,))

"""Training: what an update costs by backbone, beside its matrix products alone.

The bound is the time of the update's own matrix products, computed one after the other and nothing
else in the same run: the *floor*. An update's share of it says how much of its time is products.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_tf.benchmarking.benchmark_config import SpeedConfig
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.benchmarking.timing import cpu_seconds
from exphil_tf.foundation.config import PRESETS, load
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.train_config import TrainConfig
from models.backbones import BACKBONES

if TYPE_CHECKING:
    from exphil_tf.training.imitation import ImitationLearner
    from exphil_tf.training.loop import TimedIterator

WIDTH = 256
PRESET = "production preset"
_COMMON = ("--seed", "0", "--warmup-steps", "1", "--ema")
_MIN_STEPS = 3
_ROUNDS = 5


def arguments(name: str) -> list[str]:
    """Options of a row: a backbone of two layers 256 wide, or the production preset."""
    if name == PRESET:
        return ["--preset", "production"]
    layers = ["--num-layers", "2"] if BACKBONES[name].has_memory else []
    return ["--backbone", name, "--hidden", str(WIDTH), str(WIDTH), *layers]


def _time(name: str, data: Path, *, seconds: float, with_parts: bool) -> dict[str, float]:
    from exphil_tf.training.imitation_setup import imitation_setup
    from exphil_tf.training.loop import TimedIterator

    flags = ["--data", str(data), *_COMMON, *arguments(name)]
    config = load(TrainConfig, flags, prog="benchmarks", presets=PRESETS)
    dataset = Dataset(data, load_manifest(data))
    with imitation_setup(config.imitation(dataset.manifest.unrecorded()), dataset) as setup:
        batches = TimedIterator(iter(setup.data.batches()))
        figures = _time_updates(setup.imitation, batches, seconds)
        prices = _price(setup.imitation, batches, with_parts=with_parts)
    accumulated = config.optimizer.accumulation_steps  # batches of an update
    frames = config.run.batch_size * config.input.window_size * accumulated
    return {
        "frames/s": frames / figures["s/update"],
        **figures,
        **prices,
        "frames/update": frames,
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
        "s/update": elapsed_s / steps,
        "waiting for input, %": 100 * batches.waited_s / elapsed_s,
        "compile, s": compile_s,
    }


def _price(
    learner: "ImitationLearner", batches: "TimedIterator", *, with_parts: bool
) -> dict[str, float]:
    """Processor milliseconds of a batch's update, its products alone, and maybe its parts."""
    from exphil_tf.benchmarking.matrix_products import floor, products
    from exphil_tf.benchmarking.update_parts import update_parts

    batch = dict(next(batches))
    works = {
        "update": lambda: learner.learn(batch),
        "floor": floor(products(learner.step_graph(batch))),
        **(update_parts(learner, batch) if with_parts else {}),
    }
    times = {name: 1e3 * s for name, s in cpu_seconds(works, rounds=_ROUNDS).items()}
    share = times["floor"] / times["update"]
    return {"share of floor": share} | {f"{name}, CPU ms": ms for name, ms in times.items()}


def run(data: Path, config: SpeedConfig) -> Report:
    """Times updates of every backbone and of the production preset.

    Args:
      data: a finished dataset.
      config: seconds per row, once it is compiled; the backbones, which leave the preset out; and
        whether parts are timed too.
    """
    rows = {
        name: _time(name, data, seconds=config.seconds, with_parts=config.parts)
        for name in config.backbones or (*BACKBONES, PRESET)
    }
    columns = tuple(dict.fromkeys(name for row in rows.values() for name in row))
    notes = (
        "Every update is waited for, so that time between updates is the input's alone.",
        "Floor: the update's matrix products alone; its share says how much of an update they are.",
        *(["Parts are compiled alone, and without input."] if config.parts else []),
    )
    return Report(f"Training, two layers of {WIDTH}", columns, rows, notes)

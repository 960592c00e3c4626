"""Training: frames per second of the compiled step, and the share of it that waits for input."""

import time
from pathlib import Path

from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.foundation.config import PRESETS, load
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training.train_config import TrainConfig

_SHAPES: dict[str, list[str]] = {
    "mamba 256 × 2, batch 64": ["--hidden", "256", "256", "--num-layers", "2"],
    "production preset": ["--preset", "production", "--warmup-steps", "1"],
}
_MIN_STEPS = 3


def _time(arguments: list[str], data: Path, *, seconds: float) -> dict[str, float]:
    from exphil_tf.training.session import Session, prepare_process

    common = ["--data", str(data), "--seed", "0"]
    config = load(TrainConfig, [*common, *arguments], prog="benchmarks", presets=PRESETS)
    prepare_process(config)
    session = Session(config, load_manifest(data), data)
    trainer = session._trainer()
    batches = iter(session._batches("train", training=True))
    compile_s = -time.perf_counter()
    trainer.train(next(batches))
    trainer.take_totals()  # waits for the device
    compile_s += time.perf_counter()
    waited_s = elapsed_s = 0.0
    steps = 0
    while steps < _MIN_STEPS or elapsed_s < seconds:
        start = time.perf_counter()
        batch = next(batches)
        waited_s += time.perf_counter() - start
        trainer.train(batch)
        trainer.take_totals()
        elapsed_s += time.perf_counter() - start
        steps += 1
    frames = config.run.batch_size * config.input.window_size
    return {
        "frames/s": steps * frames / elapsed_s,
        "s/step": elapsed_s / steps,
        "waiting for input, %": 100 * waited_s / elapsed_s,
        "compile, s": compile_s,
        "frames/step": frames,
        "parameters": session.policy.count_params(),
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

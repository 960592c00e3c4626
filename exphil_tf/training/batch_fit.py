"""The largest batch that fits into memory, for `--auto-batch-size`; measured, not guessed.

What an update takes grows with the batch by a constant per unroll, which the plan knows to a factor
of two only. So one update of a batch of half the size that the plan allows is measured, in a
process of its own: memory that was once taken is not given back, and a process that takes too much
is killed. What fits follows from that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import re
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from exphil_tf.data.epoch_size import epoch_size
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.exit_codes import EXIT_INTERNAL
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.plan import costs_of
from exphil_tf.training.train_config import Config

_SHARE_OF_RAM = 0.5
_SHARE_OF_GPU = 0.9
_MARGIN = 0.9
"""Of what is left beside the rest of the process, the share that an update may take."""
_MULTIPLE = 8
_MIB = 1 << 20


class Trial(NamedTuple):
    """What updates of a batch took."""

    batch_size: int
    resting_bytes: int
    """Held between updates."""
    update_bytes: int
    """Taken by an update besides."""


def with_batch_size(
    config: Config, dataset: Dataset, *, is_resuming: bool
) -> tuple[Config, list[str]]:
    """The configuration with a batch that fits, if that is asked for.

    Returns: the configuration, and sentences about what was chosen.

    Raises: UserError: if not even one unroll fits.
    """
    if not config.run.auto_batch_size:
        return config, []
    if is_resuming:
        return config, ["auto_batch_size: a run that goes on keeps its batch_size"]
    if config.run.dry_run:
        size = config.run.batch_size
        return config, [f"auto_batch_size: a dry run measures nothing and has batch_size {size}"]
    budget, where = memory_budget(config.run.memory_budget_mb)
    run = dataclasses.replace(config.run, seed=config.run.seed or 0)
    asked = dataclasses.replace(config, run=run).imitation(dataset.manifest.unrecorded())
    trial = _try(asked, dataset, budget=budget)
    chosen = largest_batch(trial, budget=budget, most=_most(asked, dataset))
    resolved = dataclasses.replace(config.run, batch_size=chosen, auto_batch_size=False)
    return dataclasses.replace(config, run=resolved), [
        f"auto_batch_size: batch_size {chosen}, as an unroll takes "
        f"{trial.update_bytes / trial.batch_size / _MIB:.2f} MiB and the run may take "
        f"{budget // _MIB:,} MiB ({where})",
        f"auto_batch_size: the learning rate stays {config.schedule.lr:g}; larger batches often "
        "want a higher one (python -m exphil_tf.find_lr)",
    ]


def largest_batch(trial: Trial, *, budget: int, most: int) -> int:
    """The largest batch that fits, in eights from 8 on.

    Args:
      trial: what was measured.
      budget: bytes for the whole process.
      most: unrolls, whatever fits.

    Raises: UserError: if not even one unroll fits.
    """
    per_unroll = max(1.0, trial.update_bytes / trial.batch_size)
    fitting = int(min(_MARGIN * (budget - trial.resting_bytes) / per_unroll, most))
    if fitting < 1:
        need = (trial.resting_bytes + per_unroll / _MARGIN) / _MIB
        raise UserError(
            f"--auto-batch-size: want at least {need:,.0f} MiB. Received: {budget // _MIB:,} MiB",
            "Give a larger --memory-budget-mb, a shorter --window-size or a smaller network.",
        )
    return fitting - fitting % _MULTIPLE if fitting >= _MULTIPLE else fitting


def memory_budget(asked_mb: int | None) -> tuple[int, str]:
    """Bytes that a run may take, and of what.

    Raises: UserError: if none was given and this machine does not tell.
    """
    if asked_mb is not None:
        return asked_mb * _MIB, "as given"
    gpu = _gpu_bytes()
    if gpu:
        return int(_SHARE_OF_GPU * gpu), f"{_SHARE_OF_GPU:.0%} of the GPU"
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return int(_SHARE_OF_RAM * int(found[1]) * 1024), "half of what is free"
    raise UserError(
        "--auto-batch-size: this machine does not tell its free memory",
        "Give --memory-budget-mb.",
    )


def _gpu_bytes() -> int:
    """Memory of the first GPU that TensorFlow would use; 0 without one."""
    program = shutil.which("nvidia-smi")
    if program is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    query = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    ended = subprocess.run(query, capture_output=True, text=True, check=False)
    first = ended.stdout.split("\n")[0].strip()
    return int(first) * _MIB if ended.returncode == 0 and first.isdigit() else 0


def _most(config: ImitationConfig, dataset: Dataset) -> int:
    """No more unrolls than are asked for, nor than an epoch has."""
    size = epoch_size(
        dataset.manifest, config.input, folder=dataset.folder, split="train",
        batch_size=1, seed=config.seed, training=True,
    )  # fmt: skip
    return min(config.run.auto_batch_max, max(1, size.unrolls))


def _try(config: ImitationConfig, dataset: Dataset, *, budget: int) -> Trial:
    """Measures updates of half the batch that the plan allows, less if that is too much."""
    one = dataclasses.replace(config, run=dataclasses.replace(config.run, batch_size=1))
    size = budget // (2 * costs_of(one).activation_bytes)
    size = max(1, min(size, _most(config, dataset)))
    while size:
        run = dataclasses.replace(config.run, batch_size=size)
        trial = _in_a_process(dataclasses.replace(config, run=run), dataset)
        if trial is not None:
            return trial
        size //= 4
    raise UserError(
        "--auto-batch-size: a process that learns from one unroll was killed",
        "Free memory, or choose a smaller network.",
        exit_code=EXIT_INTERNAL,
    )


def _in_a_process(config: ImitationConfig, dataset: Dataset) -> Trial | None:
    """None if the process was killed."""
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        try:
            return pool.submit(measure, config, dataset).result()
        except BrokenProcessPool:
            return None


def measure(config: ImitationConfig, dataset: Dataset) -> Trial:
    """Learns from two batches and tells what the second one took, as the first one compiles."""
    with quiet_import():
        from exphil_tf.training.imitation_setup import imitation_setup
        from exphil_tf.training.memory_use import MemoryUse

    with imitation_setup(config, dataset) as setup:
        batches = iter(setup.data.batches())
        setup.learner.update(batches, step=0)
        setup.learner.take_report()  # waits for the device
        memory = MemoryUse()
        memory.start()
        setup.learner.update(batches, step=1)
        setup.learner.take_report()
        return Trial(config.run.batch_size, memory.resting, memory.taken())

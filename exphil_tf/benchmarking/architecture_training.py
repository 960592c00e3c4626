"""One architecture, trained in a process of its own, so that processor time and memory are its own.

    python -m exphil_tf.benchmarking.architecture_training JOB.json RESULT.json

Which width gives the parameters that are asked for, how many updates the budget pays for, the
training itself with its curve, and the policy as a run's folder that other commands read.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exphil_tf.checkpoints import provenance
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load, to_dict
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training import run_folder
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.train_config import TrainConfig, resolve

if TYPE_CHECKING:
    from exphil_tf.training.imitation_config import ImitationConfig
    from exphil_tf.training.imitation_setup import ImitationSetup

PROG = "python -m exphil_tf.train"
WIDTH_STEP = 8
"""Widths are multiples of it, as attention heads have to divide them."""
MOST_STEPS = 1_000_000
PROBE_SHARE = 0.03
"""Of the budget, spent before on finding out what an update costs."""
_LEAST_PROBED = 3


@dataclass(frozen=True)
class Job:
    """What is to be trained."""

    backbone: str
    data: str
    """Folder of the dataset."""
    run_dir: str
    """Where its policy goes."""
    train_options: str
    parameters: int | None
    cpu_seconds: float
    updates: int | None
    points: int
    curve_frames: int
    seed: int


@dataclass(frozen=True)
class Point:
    """Of a curve."""

    updates: int
    frames: float
    """Labelled frames learnt from so far."""
    cpu_s: float
    """Processor time of training so far, its input's included."""
    nll: float
    """Nats per frame on the first validation frames, unrolled as in training."""


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    hidden: list[int]
    parameters: int
    updates: int
    frames: float
    cpu_s: float
    wall_s: float
    compile_cpu_s: float
    """Of the first update, which is not counted elsewhere."""
    peak_bytes: int
    """Resident memory of the process at its peak."""
    curve: list[Point]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trained:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, "curve": [Point(**point) for point in values["curve"]]})


def main(argv: Sequence[str]) -> int:
    """Trains what a job's file says; writes the result."""
    job = Job(**json.loads(Path(argv[0]).read_text(encoding="utf-8")))
    atomic.write_json(Path(argv[1]), dataclasses.asdict(train(job)))
    return 0


def train(job: Job) -> Trained:
    """Trains one architecture and leaves its policy in its folder."""
    with quiet_import():
        from models.policy import Policy

    dataset = Dataset(Path(job.data), load_manifest(Path(job.data)))
    unrecorded = dataset.manifest.unrecorded()

    def count(width: int) -> int:
        config = _config(job, (width, width)).policy(unrecorded)
        return Policy(config, name="policy").num_parameters

    hidden = () if job.parameters is None else (fit_width(count, job.parameters),) * 2
    config = _config(job, hidden)
    imitation = config.imitation(unrecorded)
    updates = job.updates or _affordable(job, imitation, dataset)
    return _train(job, config, dataset, updates=updates)


def fit_width(count_fn: Callable[[int], int], parameters: int) -> int:
    """The width, a multiple of `WIDTH_STEP`, whose policy comes closest to some parameters.

    Args:
      count_fn: parameters of a width, rising with it.
      parameters: wanted.
    """
    low, high = 0, 1
    while count_fn(high * WIDTH_STEP) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_fn(middle * WIDTH_STEP) < parameters else (low, middle)
    found = [width * WIDTH_STEP for width in (low, high) if width]
    return min(found, key=lambda width: abs(count_fn(width) - parameters))


def _config(job: Job, hidden: Sequence[int]) -> TrainConfig:
    """Options of a run; the widths are those of the options if `hidden` is empty."""
    given = ["--data", job.data, "--seed", str(job.seed), "--backbone", job.backbone]
    widths = ["--hidden", *map(str, hidden)] if hidden else []
    argv = [*shlex.split(job.train_options), *given, *widths]
    return resolve(load(TrainConfig, argv, env={}, prog="--train-options"))[0]


def _of_length(imitation: ImitationConfig, updates: int) -> ImitationConfig:
    run_config = dataclasses.replace(imitation.run, max_steps=updates, epochs=MOST_STEPS)
    return dataclasses.replace(imitation, run=run_config)


def _affordable(job: Job, imitation: ImitationConfig, dataset: Dataset) -> int:
    """Updates that the budget pays for, as the first ones tell."""
    from exphil_tf.training.imitation_setup import imitation_setup

    with imitation_setup(_of_length(imitation, MOST_STEPS), dataset) as setup:
        meter, batches = _Meter(setup), iter(setup.data.batches())
        meter.update(batches, until=1)
        compiled_s = meter.cpu_s
        while meter.done <= _LEAST_PROBED or meter.cpu_s - compiled_s < PROBE_SHARE * (
            job.cpu_seconds
        ):
            meter.update(batches, until=meter.done + 1)
    per_update = (meter.cpu_s - compiled_s) / (meter.done - 1)
    return max(2, round(job.cpu_seconds / per_update))


class _Meter:
    """Counts what updates cost, and nothing that happens between them."""

    def __init__(self, setup: ImitationSetup):
        self._learner = setup.learner
        self.done, self.frames = 0, 0.0
        self.cpu_s = self.wall_s = 0.0

    def update(self, batches: Iterator[Any], *, until: int) -> None:
        """Makes updates until so many were made, and waits for the last."""
        wall, cpu = time.monotonic(), time.process_time()
        for step in range(self.done, until):
            self._learner.update(batches, step=step)
        self.frames += self._learner.take_report().frames
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.monotonic() - wall
        self.done = until

    def forget_time(self) -> float:
        """Sets the times to 0; the processor time so far."""
        spent, self.cpu_s, self.wall_s = self.cpu_s, 0.0, 0.0
        return spent


def _train(job: Job, config: TrainConfig, dataset: Dataset, *, updates: int) -> Trained:
    from exphil_tf.training.imitation_setup import imitation_setup

    imitation = config.imitation(dataset.manifest.unrecorded())
    with imitation_setup(_of_length(imitation, updates), dataset) as setup:
        facts = _facts(job, config, dataset) | dict(setup.start())
        with setup.data.named_errors():
            meter, batches = _Meter(setup), iter(setup.data.batches())
            meter.update(batches, until=1)
            compile_cpu_s = meter.forget_time()
            curve = []
            for number in range(1, job.points + 1):
                until = max(1, round(updates * number / job.points))
                if until == meter.done and number < job.points:
                    continue
                meter.update(batches, until=until)
                nll = _validate(job, imitation, setup)
                curve.append(Point(meter.done, meter.frames, meter.cpu_s, nll))
                _say(job, curve[-1], updates)
        setup.export(Path(job.run_dir) / run_folder.POLICY, facts)
        policy = setup.imitation.policy
        return Trained(
            hidden=list(policy.config.backbone.hidden),
            parameters=policy.num_parameters,
            updates=meter.done,
            frames=meter.frames,
            cpu_s=meter.cpu_s,
            wall_s=meter.wall_s,
            compile_cpu_s=compile_cpu_s,
            peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            curve=curve,
        )


def _validate(job: Job, imitation: ImitationConfig, setup: ImitationSetup) -> float:
    """Nats per frame on the first batches of the validation split."""
    if setup.validation is None:
        raise UserError(f"{job.data}: has no validation split", "Preprocess with --val-split.")
    inputs = imitation.input
    per_batch = imitation.run.batch_size * (inputs.window_size - inputs.burn_in)
    count = max(1, round(job.curve_frames / per_batch))
    with setup.validation.named_errors():
        values = setup.learner.validate(itertools.islice(setup.validation.batches(), count))
    return float(values["nll_total"])


def _facts(job: Job, config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    return provenance.describe_run(
        config=to_dict(config),
        seed=job.seed,
        manifest=dataset.manifest,
        data_dir=dataset.folder,
        prog=PROG,
    )


def _say(job: Job, point: Point, updates: int) -> None:
    text = (
        f"{job.backbone}: update {point.updates:,} of {updates:,}, {point.cpu_s:,.0f} CPU-s, "
        f"{point.nll:.4f} nats per frame\n"
    )
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    run(main, sys.argv[1:])

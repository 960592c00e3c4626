"""A learner that knows nothing of replays: a regression of a line, on points that it draws itself.

    python -m tests.tiny_learner RUN_DIR KILL_AT [ADDRESS] [WAIT_S]

Runs like any other, into a run's folder; KILL_AT is the update after which it kills itself, 0 for
none. It is copied to ADDRESS, and goes on from there; it waits a while before it is killed. Numbers
are float64 numpy, so that an update takes microseconds.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from exphil_tf.foundation import atomic
from exphil_tf.process.console import make_console
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.learner import LearnerVariables, Report
from exphil_tf.training.learner_run import LearnerSetup
from exphil_tf.training.metric import Metric
from exphil_tf.training.run_config import RunConfig, StoppingConfig
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_sync import fetch_run
from exphil_tf.training.training_run import TrainingRun

TRUE = np.array([2.0, -1.0])
"""Slope and offset of the line."""


class PointStream(tf.train.experimental.PythonState):
    """Batches of noisy points; its generator's state is what a checkpoint holds of it."""

    def __init__(self, seed=0):
        super().__init__()
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def serialize(self):
        return json.dumps(self._rng.bit_generator.state)

    def deserialize(self, string):
        self._rng.bit_generator.state = json.loads(string)

    def __iter__(self):
        return self

    def __next__(self):
        x = np.stack([self._rng.normal(size=8), np.ones(8)], -1)
        return x, x @ TRUE + self._rng.normal(0, 0.3, 8)


class Drawn:
    """Points without end."""

    def batches(self):
        return PointStream()

    def named_errors(self):
        return contextlib.nullcontext()


class HeldOut:
    """Three batches, the same in each pass."""

    def batches(self):
        stream = PointStream(seed=1)
        return [next(stream) for _ in range(3)]

    def named_errors(self):
        return contextlib.nullcontext()


class LineLearner:
    """Gradient descent with momentum on the squared error."""

    metrics = (
        Metric("error", "squared error", ".3f", is_selecting=True),
        Metric("coefficients", "line", ".1f"),
        Metric("momentum"),
    )

    def __init__(self, after_update=lambda step: None):
        self.after_update = after_update
        self.line, self.momentum, self.sums = (
            tf.Variable(np.zeros(2), trainable=False) for _ in range(3)
        )

    def variables(self):
        return LearnerVariables(
            {"line": self.line}, {"momentum": self.momentum}, {"sums": self.sums}
        )

    def update(self, batches, *, step):
        x, y = next(batches)
        error = x @ self.line.numpy() - y
        momentum = 0.9 * self.momentum.numpy() + error @ x / len(x)
        self.momentum.assign(momentum)
        self.line.assign(self.line.numpy() - 0.02 * momentum)
        self.sums.assign(self.sums.numpy() + [len(x), (error**2).sum()])
        self.after_update(step + 1)

    def take_report(self):
        count, error = (float(v) for v in self.sums.numpy())
        self.reset()
        values = {"error": error / count, **self._coefficients()} if count else {}
        return Report(count, values, skipped=0, worst_streak=0)

    def validate(self, batches):
        errors = [np.mean((x @ self.line.numpy() - y) ** 2) for x, y in batches]
        return {"error": float(np.mean(errors)), **self._coefficients()} if errors else {}

    def reset(self):
        self.sums.assign(np.zeros(2))

    def _coefficients(self):
        slope, offset = (float(v) for v in self.line.numpy())
        return {
            "coefficients": {"slope": slope, "offset": offset},
            "momentum": float(np.abs(self.momentum.numpy()).max()),
        }


def setup_of(learner, *, validation=True, horizon=None):
    def export(folder, provenance):
        with atomic.publish(folder) as made:
            atomic.write_json(made / "line.json", [float(v) for v in learner.line.numpy()])
            atomic.write_json(made / "provenance.json", provenance)

    return contextlib.nullcontext(
        LearnerSetup(
            learner=learner,
            data=Drawn(),
            validation=HeldOut() if validation else None,
            horizon=horizon or Horizon(10.0, 40),
            start=lambda: {"init_from": "nothing"},
            export=export,
        )
    )


FACTS = {
    "created": "today", "config": {"learner": "line"}, "data": {"manifest_sha256": "points"},
    "sources": [],
}  # fmt: skip


def run_in(
    run_dir,
    *,
    run=RunConfig(),  # noqa: B008
    stopping=StoppingConfig(),  # noqa: B008
    resume=True,
    cloud=CloudConfig(),  # noqa: B008
    environ=None,
):
    location = RunLocation(Path(run_dir), is_resuming=resume)
    return TrainingRun(
        location, run, stopping, "learner: line\n", FACTS, cloud=cloud, environ=environ or {}
    )


def main(argv):
    run_dir, kill_at = argv[0], int(argv[1])
    address = argv[2] if len(argv) > 2 else None
    wait_s = float(argv[3]) if len(argv) > 3 else 0.0
    if address is not None:
        fetch_run(address, RunLocation(Path(run_dir), is_resuming=True), True, environ=os.environ)

    def after_update(step):
        if step == kill_at:
            time.sleep(wait_s)
            os.kill(os.getpid(), signal.SIGKILL)

    run = RunConfig(seed=0, log_interval=4, save_every_steps=7, keep_last=2, verbosity=2)
    cloud = CloudConfig(sync=address, price=1.5 if address else None)
    training_run = run_in(run_dir, run=run, cloud=cloud, environ=os.environ)
    console = make_console() if address else None
    outcome = training_run.train(lambda: setup_of(LineLearner(after_update)), console)
    return 0 if outcome.reason == "finished" else 75


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

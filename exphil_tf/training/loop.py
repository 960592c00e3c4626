"""The loop around a learner: epochs, validation, checkpoints, interruptions, NaN.

What happens at a step depends on the step alone, never on the clock, but for *when* a checkpoint is
written, which changes no number. So a run that is killed anywhere and resumed from its last
checkpoint walks through the same states as one that never stopped.

What is learnt, and how, is the `training.learner.Learner`'s business.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.process.memory import device_memory, resident_bytes
from exphil_tf.training import goodput
from exphil_tf.training.goodput import Account
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.interrupts import Interrupts
from exphil_tf.training.learner import Batch, Learner
from exphil_tf.training.metric import Values, selecting
from exphil_tf.training.pace import Pace
from exphil_tf.training.run_config import RunConfig, StoppingConfig
from exphil_tf.training.state import Position, TrainState
from exphil_tf.training.telemetry import Telemetry

MAX_STREAK = 5
"""Updates in a row that NaN may spoil before the run goes back to a checkpoint."""
MAX_ROLLBACKS = 2
OUT_OF_BUDGET = "out of budget"
"""Why a run ended that may go on with more hours."""
FIRST_LOG = 20
"""Updates after which a run is told of first, with how long it may take."""


@dataclass(frozen=True)
class LoopComponents(Generic[Batch]):
    """What a loop joins."""

    learner: Learner[Batch]
    state: TrainState
    """The learner's variables, with `batches`' place in the data."""
    batches: Iterator[Batch]
    """Without end."""
    validation: Iterable[Batch] | None
    """One pass at each iteration; None where there is nothing to validate on."""
    store: CheckpointStore
    telemetry: Telemetry
    interrupts: Interrupts
    export: Callable[[Position], None]
    """Publishes what was learnt as it stands."""
    on_update: Callable[[], None] = lambda: None
    """Called after each update."""
    account: Account = field(default_factory=Account)
    """Where the run's time goes."""
    budget_s: float = math.inf
    """Seconds that the run may take of its machines."""


class Outcome(NamedTuple):
    """How a run ended."""

    reason: str
    """`finished`, `stopped early`, `out of budget` or `interrupted`."""
    position: Position
    weights_sha256: str
    seconds: float
    """Of all processes that trained the run."""
    training_loss: float | None
    """Mean of the selecting metric on training batches before the last validation but one, or
    since then; None before the first frame."""
    spent: dict[str, float] = {}
    """Seconds by cause, of all processes that trained the run; see `goodput`."""


class Past(NamedTuple):
    """What the processes that trained a run before came to."""

    seconds: float = 0.0
    training_loss: float | None = None
    """See `Outcome`."""

    @classmethod
    def from_dict(cls, values: object) -> "Past":
        """Of a checkpoint's `past`; of an earlier release's, which has none, nothing is known."""
        if not isinstance(values, dict):
            return cls()
        numbers = {n: v for n, v in values.items() if n in cls._fields and _is_number(v)}
        return cls(**numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


class Loop(Generic[Batch]):
    """Runs a learner from a position to the run's end, or until interrupted.

    Args:
      components: see `LoopComponents`.
      run: intervals.
      stopping: what the selecting metric decides.
      horizon: length.
    """

    def __init__(
        self,
        components: LoopComponents[Batch],
        run: RunConfig,
        *,
        stopping: StoppingConfig,
        horizon: Horizon,
    ):
        self.components = components
        self.run_config = run
        self.stopping = stopping
        self.horizon = horizon
        self.position = Position()
        self._batches = TimedIterator(components.batches)
        self._selecting = selecting(components.learner.metrics)
        self._pace = Pace(horizon)
        self._saved_step = -1
        self._saved_s = self._logged_s = self._started_s = time.monotonic()
        self._logged_step = 0
        self._is_compiled = False
        self._past = Past()
        self._spent = components.account.spent

    def run(self, position: Position, past: Past = Past()) -> Outcome:  # noqa: B008 - a constant
        """Trains from `position` (restored state) on.

        Args:
          position: where the run stands.
          past: what its earlier processes came to.

        Raises: UserError: if training diverged, or a checkpoint can't be written (disk full).
        """
        self.position, self._past = position, past
        # A position read from a checkpoint needs no other checkpoint.
        self._saved_step = position.step if position.step else -1
        while True:
            if self._is_validation_pending():
                self._validate_and_keep()
            if self.components.interrupts.requested:
                return self._interrupted()
            if self.position.step >= self.horizon.total_steps:
                return self._finish("finished")
            if self.position.progress.is_over(self.stopping):
                return self._finish("stopped early")
            if self._is_out_of_budget():
                return self._finish(OUT_OF_BUDGET)
            self._train_one_update()

    # -- Steps -------------------------------------------------------------------------------------

    def _train_one_update(self) -> None:
        waited_s = self._batches.waited_s
        with self._spent.on("updates" if self._is_compiled else "first update"):
            self.components.learner.update(self._batches, step=self.position.step)
        if self._is_compiled:
            self._spent.shift("updates", "input", self._batches.waited_s - waited_s)
        self.components.on_update()
        step = self.position.step + 1
        self.position = dataclasses.replace(self.position, step=step)
        is_end = self.horizon.is_validated(step)
        if step % self.run_config.log_interval == 0 or step == FIRST_LOG or is_end:
            with self._spent.on("updates"):  # of which some are still under way
                self._log_training(memory=memory() if is_end else {})
        if not is_end and self._is_save_due():
            self._save()
        if not self._is_compiled:
            self._is_compiled = True
            seconds = self._spent.seconds["first update"]
            self.components.telemetry.write("compiled", step=step, seconds=seconds)
            self._restart_clock()

    def _restart_clock(self) -> None:
        """Leaves compilation and validation out of the frames per second."""
        self._logged_s, self._batches.waited_s = time.monotonic(), 0.0
        self._logged_step = self.position.step

    def _log_training(self, memory: dict[str, Any]) -> None:
        report, now = self.components.learner.take_report(), time.monotonic()
        if report.worst_streak >= MAX_STREAK:
            self._roll_back(report.worst_streak)
            return
        if not report.values:
            return
        elapsed = max(now - self._logged_s, 1e-9)
        self._pace.saw_updates(self.position.step - self._logged_step, seconds=elapsed)
        selected = report.values.get(self._selecting.name)
        position = self.position = self.position.after(report.frames, selected)
        self.components.telemetry.write(
            "train",
            step=position.step,
            epoch=self.horizon.epoch_of(position.step),
            **report.values,
            skipped=report.skipped,
            frames=position.frames,
            frames_per_s=report.frames / elapsed,
            update_ms=1e3 * elapsed / max(1, self.position.step - self._logged_step),
            input_wait=self._batches.waited_s / elapsed,
            goodput=goodput.share(self.components.account.by_cause()),
            eta_s=self._pace.seconds_after(position.step),
            **memory,
        )
        self._logged_s, self._batches.waited_s = now, 0.0
        self._logged_step = position.step

    # -- Validation --------------------------------------------------------------------------------

    def _is_validation_pending(self) -> bool:
        step = self.position.step
        return self.horizon.is_validated(step) and self.position.validated_step < step

    def _validate_and_keep(self) -> None:
        """Validates, exports what was learnt if it is to be kept, saves."""
        step = self.position.step
        if self.position.epoch_mean is not None:
            self._past = self._past._replace(training_loss=self.position.epoch_mean)
        values = self._validate()
        if self.components.interrupts.requested:
            return  # this stays pending, and a resumed run validates
        selected = values[self._selecting.name] if values else self.position.epoch_mean
        self.position = position = self._after_validation(selected)
        is_best = position.progress.best_step == step
        if values:
            self.components.telemetry.write(
                "validation",
                step=step,
                epoch=self.horizon.epoch_of(step),
                split="validation",
                is_best=is_best,
                **values,
            )
        if is_best or not self.stopping.save_best:
            with self._spent.on("export"):
                self.components.export(position)
        if self._is_epoch_saved(step) or is_best:
            self._save(selected)
        self._restart_clock()

    def _after_validation(self, selected: float | None) -> Position:
        progress, step = self.position.progress, self.position.step
        if selected is not None:
            metric, config = self._selecting, self.stopping
            progress = progress.after(selected, step=step, metric=metric, config=config)
        return self.position.after_epoch(progress)

    def _is_epoch_saved(self, step: int) -> bool:
        if not self.horizon.ends_epoch(step):
            return False
        epoch = round(self.horizon.epoch_of(step))
        return epoch % self.run_config.save_every == 0 or step == self.horizon.total_steps

    def _validate(self) -> Values:
        """Means over the whole validation split; over a part of it if interrupted."""
        if self.components.validation is None:
            return {}
        began = time.monotonic()
        batches = self._until_interrupted(self.components.validation)
        with self._spent.on("validation"):
            values = self.components.learner.validate(batches)
        self._pace.saw_validation(seconds=time.monotonic() - began)
        return values

    def _until_interrupted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.components.interrupts.requested:
                return
            yield batch

    # -- Checkpoints -------------------------------------------------------------------------------

    def _is_save_due(self) -> bool:
        run, step = self.run_config, self.position.step
        if run.save_every_steps and step % run.save_every_steps == 0:
            return True
        minutes = run.save_every_minutes
        return minutes is not None and time.monotonic() - self._saved_s >= 60 * minutes

    def _save(self, selected: float | None = None) -> None:
        past = Past(self._seconds(), self._past.training_loss)
        meta: dict[str, Any] = {
            "position": self.position.to_dict(),
            "past": past._asdict(),
            "goodput": self.components.account.to_dict(),
        }
        if selected is not None and math.isfinite(selected):
            meta["metric"] = self._selecting.cost(selected)
        components, step = self.components, self.position.step
        with self._spent.on("checkpoints"):
            path = components.store.save(step, components.state.write, meta)
        self._saved_step, self._saved_s = step, time.monotonic()
        components.telemetry.write("checkpoint", step=step, path=str(path))

    def _roll_back(self, streak: int) -> None:
        checkpoint = self.components.store.latest()
        rollbacks = self.position.rollbacks + 1
        if checkpoint is None or rollbacks > MAX_ROLLBACKS:
            raise UserError(
                f"training diverged: loss or gradients were NaN or infinite for {streak} updates "
                f"in a row at step {self.position.step}",
                "The last checkpoint is sound. Choose a lower --lr or --max-grad-norm, or check "
                "the data: python -m exphil_tf.verify.",
                exit_code=EXIT_DATA,
            )
        # Weights go back, the data goes on: the same batches would do the same again.
        self.components.state.read(checkpoint.path, with_data=False)
        self.components.learner.reset()
        self.position = dataclasses.replace(self.position, rollbacks=rollbacks)
        self.components.telemetry.write(
            "note",
            step=self.position.step,
            text=f"{streak} updates in a row were NaN or infinite: "
            f"back to the weights of step {checkpoint.step}",
        )
        self._save()

    def _is_out_of_budget(self) -> bool:
        budget_s = self.components.budget_s
        return budget_s < math.inf and self.components.account.billed_s() >= budget_s

    # -- Ends --------------------------------------------------------------------------------------

    def _interrupted(self) -> Outcome:
        if self._saved_step != self.position.step:
            self._save()
        return self._outcome("interrupted")

    def _finish(self, reason: str) -> Outcome:
        if self._saved_step != self.position.step:
            self._save()
        outcome = self._outcome(reason)
        self.components.telemetry.write(
            "end",
            step=self.position.step,
            reason=reason,
            best=self.position.progress.best,
            best_on="training" if self.components.validation is None else "validation",
            best_step=self.position.progress.best_step,
            seconds=outcome.seconds,
            weights_sha256=outcome.weights_sha256,
            spent=self._spent.by_part(),
            goodput=goodput.share(outcome.spent),
            seconds_by_cause=outcome.spent,
        )
        return outcome

    def _outcome(self, reason: str) -> Outcome:
        digest = self.components.state.weights_sha256()
        loss, spent = self._past.training_loss, self.components.account.by_cause()
        return Outcome(reason, self.position, digest, self._seconds(), loss, spent)

    def _seconds(self) -> float:
        """Of all processes that trained the run."""
        return self._past.seconds + time.monotonic() - self._started_s


def memory() -> dict[str, Any]:
    """What this process and the GPUs hold, for the log; what is not told is left out."""
    resident, devices = resident_bytes(), device_memory()
    gpus = {
        f"GPU {number}": {"used": used, "total": total}
        for number, (used, total) in enumerate(devices)
    }
    told = {} if resident is None else {"resident_bytes": resident}
    return {**told, "gpu_bytes": gpus} if gpus else told


class TimedIterator(Iterator[Batch]):
    """Passes batches on and counts the seconds that were spent waiting for them."""

    def __init__(self, batches: Iterator[Batch]):
        self._batches = batches
        self.waited_s = 0.0

    def __next__(self) -> Batch:
        begin = time.monotonic()
        batch = next(self._batches)
        self.waited_s += time.monotonic() - begin
        return batch

"""The loop around the step: epochs, validation, checkpoints, interruptions, NaN.

What happens at a step depends on the step alone, never on the clock, but for *when* a checkpoint is
written, which changes no number. So a run that is killed anywhere and resumed from its last
checkpoint walks through the same states as one that never stopped.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.training.imitation import Imitation
from exphil_tf.training.interrupts import Interrupts
from exphil_tf.training.policy_inputs import Batch
from exphil_tf.training.run_config import RunConfig, StoppingConfig
from exphil_tf.training.state import Position, TrainState
from exphil_tf.training.step_metrics import Measured
from exphil_tf.training.telemetry import Telemetry

MAX_STREAK = 5
"""Updates in a row that NaN may spoil before the run goes back to a checkpoint."""
MAX_ROLLBACKS = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Horizon:
    """How long a run is, in updates."""

    steps_per_epoch: float
    """Updates per epoch; not a whole number, as epochs share batches."""
    total_steps: int
    """Updates of the run."""

    @classmethod
    def of(cls, num_unrolls: int, *, run: RunConfig, accumulation_steps: int) -> "Horizon":
        """The horizon of `epochs` passes over `num_unrolls`, or of `max_steps` if that is less."""
        per_epoch = num_unrolls / (run.batch_size * accumulation_steps)
        total = max(1, round(per_epoch * run.epochs))
        return cls(per_epoch, min(total, run.max_steps or total))

    def epoch_of(self, step: int) -> float:
        """Epochs done after `step` updates."""
        return step / self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the run, ends with this update."""
        if step <= 0:
            return False
        epoch = round(self.epoch_of(step))
        is_end = epoch >= 1 and step == max(1, round(epoch * self.steps_per_epoch))
        return is_end or step == self.total_steps


@dataclass(frozen=True)
class Parts:
    """What a loop joins."""

    trainer: Imitation
    state: TrainState
    batches: Iterator[Batch]
    """Endless training batches, part of `state`."""
    validation: Callable[[], Iterable[Batch]] | None
    """Makes one pass over the validation split; None where there is none."""
    store: CheckpointStore
    telemetry: Telemetry
    interrupts: Interrupts
    publish_policy: Callable[[Position], None]
    """Exports the policy as it stands."""
    learning_rate: Callable[[], float]
    freeze_step: int | None = None
    """Updates after which activation ranges are frozen; None if nothing is quantized."""


class Outcome(NamedTuple):
    """How a run ended."""

    reason: str
    """`finished`, `stopped early` or `interrupted`."""
    position: Position
    weights_sha256: str
    seconds: float
    """Of this process."""


class Loop:
    """Runs training from a position to its end, or until interrupted.

    Args:
      parts: see `Parts`.
      run: intervals.
      stopping: what validation decides.
      horizon: length.
    """

    def __init__(self, parts: Parts, run: RunConfig, *, stopping: StoppingConfig, horizon: Horizon):
        self.parts = parts
        self.run_config = run
        self.stopping = stopping
        self.horizon = horizon
        self.position = Position()
        self._accumulation = parts.trainer.updater.config.accumulation_steps
        self._saved_step = -1
        self._saved_s = self._logged_s = self._started_s = time.monotonic()
        self._waited_s = 0.0
        self._is_compiled = False

    def run(self, position: Position) -> Outcome:
        """Trains from `position` (restored state) on.

        Raises: UserError: if training diverged, or a checkpoint can't be written (disk full).
        """
        self.position = position
        # A position read from a checkpoint needs no other checkpoint.
        self._saved_step = position.step if position.step else -1
        while True:
            if self._is_epoch_pending():
                self._end_epoch()
            if self.parts.interrupts.requested:
                return self._interrupted()
            if self.position.step >= self.horizon.total_steps:
                return self._finish("finished")
            if self.position.progress.is_over(self.stopping):
                return self._finish("stopped early")
            self._train_one_update()

    # -- Steps -------------------------------------------------------------------------------------

    def _train_one_update(self) -> None:
        if self.parts.freeze_step is not None and self.position.step >= self.parts.freeze_step:
            self.parts.trainer.freeze_ranges()
        for micro in range(self._accumulation):
            begin = time.monotonic()
            batch = next(self.parts.batches)
            self._waited_s += time.monotonic() - begin
            self.parts.trainer.train(batch, is_last=micro == self._accumulation - 1)
        step = self.position.step + 1
        self.position = dataclasses.replace(self.position, step=step)
        is_end = self.horizon.ends_epoch(step)
        if step % self.run_config.log_interval == 0 or is_end:
            self._log_training()
        if not is_end and self._is_save_due():
            self._save()
        if not self._is_compiled:
            self._is_compiled = True
            self._restart_clock()

    def _restart_clock(self) -> None:
        """Leaves compilation and validation out of the frames per second."""
        self._logged_s, self._waited_s = time.monotonic(), 0.0

    def _log_training(self) -> None:
        trainer, now = self.parts.trainer, time.monotonic()
        self._react_to_streak(trainer.take_worst_streak())
        measured = trainer.take_totals()
        if measured is None:
            return
        elapsed = max(now - self._logged_s, 1e-9)
        position = self.position = dataclasses.replace(
            self.position,
            frames=self.position.frames + measured.frames,
            epoch_frames=self.position.epoch_frames + measured.frames,
            epoch_nll=self.position.epoch_nll + measured.total * measured.frames,
        )
        self.parts.telemetry.write(
            "train",
            step=position.step,
            epoch=self.horizon.epoch_of(position.step),
            **_numbers(measured),
            loss=measured.loss,
            lr=self.parts.learning_rate(),
            grad_norm=trainer.grad_norm(),
            skipped=trainer.skipped(),
            frames=position.frames,
            frames_per_s=measured.frames / elapsed,
            input_wait=self._waited_s / elapsed,
        )
        self._logged_s, self._waited_s = now, 0.0

    # -- Epochs ------------------------------------------------------------------------------------

    def _is_epoch_pending(self) -> bool:
        step = self.position.step
        return self.horizon.ends_epoch(step) and self.position.validated_step < step

    def _end_epoch(self) -> None:
        """Validates, exports the policy if it is the one to keep, saves."""
        step = self.position.step
        measured = self._validate(self.parts.validation) if self.parts.validation else None
        if self.parts.interrupts.requested:
            return  # the epoch's end stays pending, and a resumed run validates
        frames = self.position.epoch_frames
        loss = measured.total if measured else self.position.epoch_nll / max(frames, 1e-9)
        progress = self.position.progress
        if measured or frames:
            progress = progress.after(loss, step=step, config=self.stopping)
        is_best = progress.best_step == step
        self.position = dataclasses.replace(
            self.position, progress=progress, validated_step=step, epoch_frames=0.0, epoch_nll=0.0
        )
        if measured:
            unrounded = self.parts.trainer.take_validation_float()
            self.parts.telemetry.write(
                "validation",
                step=step,
                epoch=self.horizon.epoch_of(step),
                split="validation",
                is_best=is_best,
                loss=measured.loss,
                **_numbers(measured),
                **({"nll_total_float": unrounded.total} if unrounded else {}),
            )
        if is_best or not self.stopping.save_best:
            self.parts.publish_policy(self.position)
        if self._is_epoch_saved(step) or is_best:
            self._save(metric=loss)
        self._restart_clock()

    def _is_epoch_saved(self, step: int) -> bool:
        epoch = round(self.horizon.epoch_of(step))
        return epoch % self.run_config.save_every == 0 or step == self.horizon.total_steps

    def _validate(self, batches: Callable[[], Iterable[Batch]]) -> Measured | None:
        """Means over the whole validation split; over a part of it if interrupted."""
        trainer = self.parts.trainer
        with trainer.updater.averaged():
            for batch in batches():
                if self.parts.interrupts.requested:
                    break
                trainer.validate(batch)
        return trainer.take_validation()

    # -- Checkpoints -------------------------------------------------------------------------------

    def _is_save_due(self) -> bool:
        run, step = self.run_config, self.position.step
        if run.save_every_steps and step % run.save_every_steps == 0:
            return True
        minutes = run.save_every_minutes
        return minutes is not None and time.monotonic() - self._saved_s >= 60 * minutes

    def _save(self, metric: float | None = None) -> None:
        meta: dict[str, Any] = {"position": self.position.to_dict()}
        if metric is not None:
            meta["metric"] = metric
        path = self.parts.store.save(self.position.step, self.parts.state.write, meta)
        self._saved_step, self._saved_s = self.position.step, time.monotonic()
        self.parts.telemetry.write("checkpoint", step=self.position.step, path=str(path))

    def _react_to_streak(self, streak: int) -> None:
        if streak < MAX_STREAK:
            return
        checkpoint = self.parts.store.latest()
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
        self.parts.state.read(checkpoint.path, with_data=False)
        self.parts.trainer.forget()
        self.position = dataclasses.replace(self.position, rollbacks=rollbacks)
        self._note(
            f"{streak} updates in a row were NaN or infinite: "
            f"back to the weights of step {checkpoint.step}"
        )
        self._save()

    # -- Ends --------------------------------------------------------------------------------------

    def _interrupted(self) -> Outcome:
        if self._saved_step != self.position.step:
            self._save()
        return self._outcome("interrupted")

    def _finish(self, reason: str) -> Outcome:
        if self._saved_step != self.position.step:
            self._save()
        outcome = self._outcome(reason)
        self.parts.telemetry.write(
            "end",
            step=self.position.step,
            reason=reason,
            best=self.position.progress.best,
            best_on="validation" if self.parts.validation else "training",
            best_step=self.position.progress.best_step,
            seconds=outcome.seconds,
            weights_sha256=outcome.weights_sha256,
        )
        return outcome

    def _outcome(self, reason: str) -> Outcome:
        digest = self.parts.state.sha256("policy/")
        return Outcome(reason, self.position, digest, time.monotonic() - self._started_s)

    def _note(self, text: str) -> None:
        self.parts.telemetry.write("note", step=self.position.step, text=text)


def _numbers(measured: Measured) -> dict[str, Any]:
    """What training and validation report alike."""
    return {
        "nll_total": measured.total,
        "nll": measured.nll,
        "nll_buttons": measured.nll_buttons,
        "press_rate": {"predicted": measured.predicted, "actual": measured.actual},
    }

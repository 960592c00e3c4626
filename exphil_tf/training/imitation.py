"""One step of behaviour cloning, compiled whole: bytes in, changed weights out.

unpack -> unroll -> losses -> gradients -> clip -> accumulate -> apply -> average, as one
`tf.function`. With accumulation, the batches before an update run a second function that ends at
"accumulate", and the update is a third, so the expensive part is compiled once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from exphil_tf.training import losses, step_metrics
from exphil_tf.training.policy_inputs import Batch, PolicyInputs, policy_inputs, unroll
from exphil_tf.training.run_config import LossConfig
from exphil_tf.training.step_metrics import Totals
from exphil_tf.training.updater import Updater, UpdateReport
from models.layers.quantized import RangeMode, activation_quantizers, ranges
from models.policy import Policy


class SoftLoss(Protocol):
    """What a teacher adds to the loss of a training batch."""

    def __call__(
        self, hard: Any, logits: Mapping[str, Any], *, batch: Batch, inputs: PolicyInputs
    ) -> Any:
        """float32 `[batch, time]`: the loss to optimise.

        Args:
          hard: float32 `[batch, time]`, the loss against what the human did.
          logits: of the policy that learns, as in `losses.nll`.
          batch: as the input pipeline yields it.
          inputs: the same, unpacked.
        """
        ...


@dataclass(frozen=True)
class StepOptions:
    """What an imitation step is built with, besides the policy."""

    loss: LossConfig
    pos_weight: np.ndarray
    """float32 `[8]`, from `losses.button_weights`."""
    jit: bool = True
    """Compile with XLA. Without it a step is several times slower but ready at once."""
    soft: SoftLoss | None = None
    """Of a teacher, while training; validation always goes by what the human did."""


class Imitation:
    """Trains and validates one policy on batches of `exphil_tf.data.input`.

    Args:
      policy: the network; its seed generators are part of `state`.
      updater: built over the policy's trainable variables.
      options: loss and compilation.
    """

    def __init__(self, policy: Policy, updater: Updater, options: StepOptions):
        self.policy = policy
        self.updater = updater
        self.options = options
        self.totals = Totals()
        self._validation = Totals()
        self._norm = tf.Variable(tf.zeros([]), trainable=False)
        self._counts = {
            name: tf.Variable(tf.zeros([], tf.int64), trainable=False)
            for name in ("skipped", "streak", "worst_streak")
        }
        self.is_quantized = policy.config.quantization.qat
        self._validation_float = Totals()
        self._ranges: RangeMode = "observe" if activation_quantizers(policy) else "frozen"
        self._update = self._compiled(self._update_accumulated)
        self._validate = self._compiled(self._validate_batch)
        self._validate_float = self._compiled(self._validate_batch_float)
        self._compile_training()

    def _compiled(self, function: Any) -> Any:
        # No Python control flow to convert: without autograph, tracing takes half the time.
        return tf.function(function, jit_compile=self.options.jit, autograph=False)

    def _compile_training(self) -> None:
        self._train = self._compiled(self._train_batch)
        self._accumulate = self._compiled(self._accumulate_batch)

    def freeze_ranges(self) -> None:
        """Activation ranges stay as they are from now on (training compiles anew)."""
        if self._ranges != "frozen":
            self._ranges = "frozen"
            self._compile_training()

    def state(self) -> dict[str, tf.Variable]:
        """Every variable of policy, updater and counters, by a name that is stable between runs."""
        # By index: Keras numbers paths by how many layers of a kind the process has made.
        named = {f"policy/{i}": v.value for i, v in enumerate(self.policy.variables)}
        named |= {f"updater/{name}": v for name, v in self.updater.state().items()}
        named |= {f"totals/{name}": v for name, v in self.totals.variables.items()}
        named |= {f"counts/{name}": v for name, v in self._counts.items()}
        return named | {"grad_norm": self._norm}

    def train(self, batch: Batch, *, is_last: bool = True) -> None:
        """Learns from one batch; with accumulation, changes weights only where `is_last`."""
        if not self.updater.is_accumulating:
            self._train(dict(batch))
            return
        self._accumulate(dict(batch))
        if is_last:
            self._update()

    def validate(self, batch: Batch) -> None:
        """Adds one batch to the validation sums."""
        self._validate(dict(batch))
        if self.is_quantized:
            self._validate_float(dict(batch))

    def take_validation(self) -> step_metrics.Measured | None:
        """Means over the validated batches, which are forgotten."""
        result = self._validation.measured()
        self._validation.reset()
        return result

    def take_validation_float(self) -> step_metrics.Measured | None:
        """As `take_validation`, of the same weights unrounded; None if nothing is quantized."""
        result = self._validation_float.measured()
        self._validation_float.reset()
        return result

    def take_totals(self) -> step_metrics.Measured | None:
        """Means over the trained batches since the last call."""
        result = self.totals.measured()
        self.totals.reset()
        return result

    def grad_norm(self) -> float:
        """Global gradient norm of the latest update that was made, before clipping."""
        return float(self._norm.numpy())

    def skipped(self) -> int:
        """Updates left out since the start because something was NaN or infinite."""
        return int(self._counts["skipped"].numpy())

    def take_worst_streak(self) -> int:
        """Most updates left out in a row since the last call."""
        worst = int(self._counts["worst_streak"].numpy())
        self._counts["worst_streak"].assign(0)
        return worst

    def forget(self) -> None:
        """Drops sums and streaks, after weights went back to a checkpoint."""
        self.totals.reset()
        self._counts["streak"].assign(0)
        self._counts["worst_streak"].assign(0)

    def _train_batch(self, batch: dict[str, Any]) -> None:
        bounds = self._bounds() if self._ranges == "observe" else []
        before = [tf.identity(v) for v in bounds]
        gradients, sums = self._gradients(batch)
        report = self.updater.update(gradients, loss=sums["loss"], weight=sums["weight"])
        for variable, value in zip(bounds, before, strict=True):
            # NaN or infinity in a batch that was left out must not stay in a range.
            variable.assign(tf.where(report.applied, variable, value))
        self._note(report, sums)

    def _bounds(self) -> list[Any]:
        found = activation_quantizers(self.policy)
        return [v.value for quantizer in found for v in (quantizer.low, quantizer.high)]

    def _accumulate_batch(self, batch: dict[str, Any]) -> None:
        gradients, sums = self._gradients(batch)
        self.updater.accumulate(gradients, loss=sums["loss"], weight=sums["weight"])
        self.totals.add(sums, tf.math.is_finite(sums["loss"]))

    def _update_accumulated(self) -> None:
        self._note(self.updater.update_accumulated(), None)

    def _validate_batch(self, batch: dict[str, Any]) -> None:
        inputs = policy_inputs(batch, self.policy.config.head.codec)
        self._validation.add(self._validation_sums(inputs))

    def _validate_batch_float(self, batch: dict[str, Any]) -> None:
        inputs = policy_inputs(batch, self.policy.config.head.codec)
        with ranges("off"):
            self._validation_float.add(self._validation_sums(inputs))

    def _validation_sums(self, inputs: PolicyInputs) -> dict[str, Any]:
        logits = unroll(self.policy, inputs, training=False)
        return step_metrics.sums(
            logits, inputs.targets, loss=self._hard(logits, inputs), weight=inputs.weight
        )

    def _gradients(self, batch: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        inputs = policy_inputs(batch, self.policy.config.head.codec)
        variables = [v.value for v in self.updater.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with ranges(self._ranges):
                logits = unroll(self.policy, inputs, training=True)
            loss = self._hard(logits, inputs)
            if self.options.soft is not None:
                loss = self.options.soft(loss, logits, batch=batch, inputs=inputs)
            sums = step_metrics.sums(logits, inputs.targets, loss=loss, weight=inputs.weight)
        return tape.gradient(sums["loss"], variables), sums

    def _hard(self, logits: Mapping[str, Any], inputs: PolicyInputs) -> Any:
        return losses.optimised(
            logits, inputs.targets, config=self.options.loss, pos_weight=self.options.pos_weight
        )

    def _note(self, report: UpdateReport, sums: dict[str, Any] | None) -> None:
        self._norm.assign(tf.where(report.applied, report.grad_norm, self._norm))
        if sums is not None:
            self.totals.add(sums, report.applied)
        streak = tf.where(report.applied, tf.constant(0, tf.int64), self._counts["streak"] + 1)
        self._counts["streak"].assign(streak)
        self._counts["worst_streak"].assign(tf.maximum(self._counts["worst_streak"], streak))
        self._counts["skipped"].assign_add(tf.cast(~report.applied, tf.int64))

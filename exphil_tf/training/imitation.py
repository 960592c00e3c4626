"""Behaviour cloning: a learner whose step is compiled whole, bytes in, changed weights out.

unpack -> unroll -> losses -> gradients -> clip -> accumulate -> apply -> average, as one
`tf.function`. With accumulation, the batches before an update run a second function that ends at
"accumulate", and the update is a third, so the expensive part is compiled once.

A further loss, such as a teacher's or a value head's, joins as a `training.loss_term.LossTerm`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from exphil_tf.training import imitation_metrics, losses
from exphil_tf.training.compiled_step import CompiledStep
from exphil_tf.training.imitation_metrics import METRICS, SHAPES
from exphil_tf.training.learner import LearnerVariables, Report
from exphil_tf.training.loss_term import LossTerm, StepOutputs
from exphil_tf.training.metric import Metric, Values
from exphil_tf.training.run_config import LossConfig
from exphil_tf.training.running_sums import RunningSums
from exphil_tf.training.updater import Updater, UpdateReport
from models.carried_state import CarriedState
from models.layers.quantized import RangeMode, activation_quantizers, ranges
from models.policy import Policy
from models.policy_inputs import Batch, policy_inputs, unroll_hidden


@dataclass(frozen=True)
class StepOptions:
    """What an imitation step is built with, besides the policy."""

    loss: LossConfig
    pos_weight: np.ndarray
    """float32 `[8]`, from `losses.button_weights`."""
    jit: bool = True
    """Compile with XLA. Without it a step is several times slower but ready at once."""
    terms: tuple[LossTerm, ...] = ()
    """What joins the loss, in this order."""
    freeze_step: int | None = None
    """Updates after which activation ranges stay as they are; None where none is stored."""
    carried_rows: int = 0
    """Rows of a batch, if they go on from batch to batch; 0 where memory starts empty in each."""
    carried_turns: int = 1
    """Training batches after which rows go on."""


def trainable_variables(policy: Policy, terms: Sequence[LossTerm]) -> list[keras.Variable]:
    """What an imitation step trains, in the order that optimizers and checkpoints index it by."""
    own = [v for term in terms for v in term.variables if v.trainable]
    return [*policy.trainable_variables, *own]


class ImitationLearner:
    """Trains and validates one policy on batches of `exphil_tf.data.input`.

    Args:
      policy: the network; its seed generators are part of what it checkpoints.
      updater: built over `trainable_variables(policy, options.terms)`.
      options: loss and compilation.
    """

    def __init__(self, policy: Policy, updater: Updater, options: StepOptions):
        self.policy = policy
        self.updater = updater
        self.options = options
        own = (metric for term in options.terms for metric in term.metrics)
        self.metrics: tuple[Metric, ...] = (*METRICS, *own)
        shapes = SHAPES | {k: v for term in options.terms for k, v in term.sum_shapes.items()}
        self._sums, self._validation, self._validation_float = (
            RunningSums(shapes) for _ in range(3)
        )
        self._norm = tf.Variable(tf.zeros([]), trainable=False)
        self._counts = {
            name: tf.Variable(tf.zeros([], tf.int64), trainable=False)
            for name in ("skipped", "streak", "worst_streak")
        }
        self.training_state, self.validation_state, self._float_state = (
            CarriedState(policy, options.carried_rows, turns=turns)
            if options.carried_rows
            else None
            for turns in (options.carried_turns, 1, 1)
        )
        self._is_quantized = policy.config.quantization.qat
        self._ranges: RangeMode = "observe" if activation_quantizers(policy) else "frozen"
        self._update = self._compiled(self.apply_accumulated)
        self._validate = self._compiled(self._validate_batch)
        self._validate_float = self._compiled(self._validate_batch_float)
        self._compile_training()

    def variables(self) -> LearnerVariables:
        """Of policy, updater, terms and counters."""
        # By index: Keras numbers paths by how many layers of a kind the process has made.
        weights = {f"policy/{i}": v.value for i, v in enumerate(self.policy.variables)}
        training = {f"updater/{name}": v for name, v in self.updater.state().items()}
        for term in self.options.terms:
            training |= {f"{term.name}/{i}": v.value for i, v in enumerate(term.variables)}
        counters = {f"totals/{name}": v for name, v in self._sums.variables.items()}
        counters |= {f"counts/{name}": v for name, v in self._counts.items()}
        carried: dict[str, tf.Variable] = {}
        if self.training_state is not None:
            # Games begin with a validation: what it carries is nobody's memory before or after.
            carried |= {f"carried/{n}": v for n, v in self.training_state.variables.items()}
        for term in self.options.terms:
            carried |= {f"carried/{term.name}/{name}": v for name, v in term.carried.items()}
        return LearnerVariables(weights, training, counters | {"grad_norm": self._norm}, carried)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the policy has its averaged weights, where averages are kept."""
        return self.updater.averaged()

    def update(self, batches: Iterator[Batch], *, step: int) -> None:
        """Learns from the next batch, or from the next few where gradients are accumulated."""
        if self.options.freeze_step is not None and step >= self.options.freeze_step:
            self._freeze_ranges()
        if not self.updater.is_accumulating:
            self._train(dict(next(batches)))
            return
        for _ in range(self.updater.config.accumulation_steps):
            self._accumulate(dict(next(batches)))
        self._update()

    def learn(self, batch: Batch) -> Report:
        """One update from one batch, waited for: what a benchmark times."""
        self._train(batch)
        return self.take_report()

    def step_graph(self, batch: Batch) -> Any:
        """The graph of an update from such a batch, with shapes: what a benchmark counts."""
        return self._train.graph(batch).as_graph_def(add_shapes=True)

    def validate(self, batches: Iterable[Batch]) -> Values:
        """Means over the batches, by the averaged weights where averages are kept."""
        with self.updater.averaged():
            for batch in batches:
                self._validate(dict(batch))
                if self._is_quantized:
                    self._validate_float(dict(batch))
        return self.validated()

    def validated(self) -> Values:
        """Means over the batches that were validated since the last call."""
        values = self._means(self._validation)
        unrounded = self._means(self._validation_float)
        return values | ({"nll_total_float": unrounded["nll_total"]} if unrounded else {})

    def take_report(self) -> Report:
        """What the updates since the last call brought."""
        frames = float(self._sums.variables["weight"].numpy())
        values = self._means(self._sums)
        if values:
            values["lr"] = float(self.updater.optimizer.learning_rate)
            values["grad_norm"] = float(self._norm.numpy())
        worst = int(self._counts["worst_streak"].numpy())
        self._counts["worst_streak"].assign(0)
        return Report(frames, values, int(self._counts["skipped"].numpy()), worst)

    def reset(self) -> None:
        """Drops sums and streaks, after weights went back to a checkpoint."""
        self._sums.reset()
        self._counts["streak"].assign(0)
        self._counts["worst_streak"].assign(0)

    # -- Training ----------------------------------------------------------------------------------

    def _compiled(self, function: Any) -> CompiledStep:
        return CompiledStep(function, jit=self.options.jit)

    def _compile_training(self) -> None:
        self._train = self._compiled(self._train_batch)
        self._accumulate = self._compiled(self._accumulate_batch)

    def _freeze_ranges(self) -> None:
        """Activation ranges stay as they are from now on (training compiles anew)."""
        if self._ranges != "frozen":
            self._ranges = "frozen"
            self._compile_training()

    def _train_batch(self, batch: dict[str, Any]) -> None:
        bounds = self._bounds() if self._ranges == "observe" else []
        before = [tf.identity(v) for v in bounds]
        gradients, sums = self.gradients(batch)
        report = self.updater.update(gradients, loss=sums["loss"], weight=sums["weight"])
        for variable, value in zip(bounds, before, strict=True):
            # NaN or infinity in a batch that was left out must not stay in a range.
            variable.assign(tf.where(report.applied, variable, value))
        self._count(report, sums)

    def _bounds(self) -> list[Any]:
        found = activation_quantizers(self.policy)
        return [v.value for quantizer in found for v in (quantizer.low, quantizer.high)]

    def _accumulate_batch(self, batch: dict[str, Any]) -> None:
        self.accumulate(*self.gradients(batch))

    def apply(self, gradients: list[Any], sums: dict[str, Any]) -> None:
        """Makes an update of what `gradients` returned, or of its total over several batches."""
        report = self.updater.update(gradients, loss=sums["loss"], weight=sums["weight"])
        self._count(report, sums)

    def accumulate(self, gradients: list[Any], sums: dict[str, Any]) -> None:
        """Keeps what `gradients` returned for `apply_accumulated`."""
        self.updater.accumulate(gradients, loss=sums["loss"], weight=sums["weight"])
        self._sums.add(sums, tf.math.is_finite(sums["loss"]))

    def apply_accumulated(self) -> None:
        """Makes an update of what was accumulated."""
        self._count(self.updater.update_accumulated(), None)

    def gradients(self, batch: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Of a batch's summed loss, one per variable of the updater, and the batch's sums."""
        variables = [v.value for v in self.updater.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            sums = self._batch_sums(
                batch, self.training_state, ranges_mode=self._ranges, training=True
            )
        return tape.gradient(sums["loss"], variables), sums

    def _count(self, report: UpdateReport, sums: dict[str, Any] | None) -> None:
        self._norm.assign(tf.where(report.applied, report.grad_norm, self._norm))
        if sums is not None:
            self._sums.add(sums, report.applied)
        streak = tf.where(report.applied, tf.constant(0, tf.int64), self._counts["streak"] + 1)
        self._counts["streak"].assign(streak)
        self._counts["worst_streak"].assign(tf.maximum(self._counts["worst_streak"], streak))
        self._counts["skipped"].assign_add(tf.cast(~report.applied, tf.int64))

    # -- Validation --------------------------------------------------------------------------------

    def _validate_batch(self, batch: dict[str, Any]) -> None:
        sums = self._batch_sums(batch, self.validation_state, ranges_mode="frozen", training=False)
        self._validation.add(sums)

    def _validate_batch_float(self, batch: dict[str, Any]) -> None:
        sums = self._batch_sums(batch, self._float_state, ranges_mode="off", training=False)
        self._validation_float.add(sums)

    def validation_sums(self, batch: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """A batch's sums; where the policy is rounded, those of its unrounded weights behind."""
        modes: tuple[RangeMode, ...] = ("frozen", "off") if self._is_quantized else ("frozen",)
        return tuple(self._batch_sums(batch, None, ranges_mode=m, training=False) for m in modes)

    def add_validated(self, sums: dict[str, Any], unrounded: dict[str, Any] | None = None) -> None:
        """Adds what `validation_sums` returned to what `validated` tells."""
        self._validation.add(sums)
        if unrounded is not None:
            self._validation_float.add(unrounded)

    # -- Both --------------------------------------------------------------------------------------

    def _batch_sums(
        self,
        batch: dict[str, Any],
        carried: CarriedState | None,
        *,
        ranges_mode: RangeMode,
        training: bool,
    ) -> dict[str, Any]:
        """Sums over a batch's frames of the optimised loss and of everything that is reported."""
        codec = self.policy.config.head.codec
        inputs = policy_inputs(batch, codec, is_carried=carried is not None)
        before = None if carried is None else carried.read()
        with ranges(ranges_mode):
            hidden, after = unroll_hidden(self.policy, inputs, training=training, state=before)
            logits = self.policy.head.unroll(hidden, inputs.targets)
        loss = losses.optimised(
            logits, inputs.targets, config=self.options.loss, pos_weight=self.options.pos_weight
        )
        if carried is not None:
            carried.write(after)
        outputs, own = StepOutputs(batch, inputs, hidden, logits), {}
        for term in self.options.terms:
            loss, sums = term.add(loss, outputs, training=training)
            own |= sums
        sums = imitation_metrics.batch_sums(logits, inputs.targets, loss=loss, weight=inputs.weight)
        return sums | own

    def _means(self, running: RunningSums) -> dict[str, Any]:
        sums = running.take()
        values = imitation_metrics.means(sums)
        if values:
            for term in self.options.terms:
                values |= term.means(sums, float(sums["weight"]))
        return values

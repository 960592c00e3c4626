"""Imitation with a value head beside it that the policy does not notice.

The head learns each batch that imitation takes, in a compiled step, an optimizer and a gradient
norm of its own. One that reads the policy's features reads those of the policy as it will be used:
without dropout, and by its averaged weights where averages are kept. Joining it to imitation's loss
would change the policy even where no gradient flows: the head's gradients count in the norm that
clips the policy's, and a larger graph is compiled to other rounding. One more forward pass is the
price. One learner may stand beside another.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from exphil_tf.training.beside_term import BesideTerm
from exphil_tf.training.compiled_step import CompiledStep
from exphil_tf.training.imitation import ImitationLearner
from exphil_tf.training.learner import LearnerVariables, Report
from exphil_tf.training.metric import Metric, Values
from exphil_tf.training.running_sums import RunningSums
from exphil_tf.training.updater import Updater
from models.carried_state import CarriedState
from models.layers.quantized import ranges
from models.policy import Policy
from models.policy_inputs import Batch, policy_inputs, unroll_hidden


class ValueBesideImitation:
    """A `Learner` of both.

    Args:
      imitation: learns the policy, as without this; it may have another such head beside it.
      term: of a head whose gradient stops before the policy.
      updater: built over the head's trainable variables; accumulates as imitation's does.
    """

    def __init__(
        self,
        imitation: "ImitationLearner | ValueBesideImitation",
        term: BesideTerm,
        updater: Updater,
    ):
        self.imitation = imitation
        self.options = imitation.options
        self.term = term
        self.updater = updater
        self.metrics: tuple[Metric, ...] = (*imitation.metrics, *term.metrics)
        self._sums, self._validation = RunningSums(term.sum_shapes), RunningSums(term.sum_shapes)
        jit = imitation.options.jit
        self._learn = CompiledStep(self._learn_batch, jit=jit)
        self._apply = CompiledStep(self._apply_accumulated, jit=jit)
        self._validate = CompiledStep(self._validate_batch, jit=jit)

    def variables(self) -> LearnerVariables:
        """Imitation's, and the head's among what is for training alone."""
        own = self.imitation.variables()
        head = self.term.name
        training = {f"{head}/{i}": v.value for i, v in enumerate(self.term.variables)}
        training |= {f"{head}_updater/{name}": v for name, v in self.updater.state().items()}
        counters = {f"{head}_totals/{name}": v for name, v in self._sums.variables.items()}
        return LearnerVariables(
            own.weights, {**own.training, **training}, {**own.counters, **counters}, own.carried
        )

    @property
    def policy(self) -> Policy:
        """Imitation's."""
        return self.imitation.policy

    @property
    def training_state(self) -> CarriedState | None:
        """Imitation's."""
        return self.imitation.training_state

    @property
    def validation_state(self) -> CarriedState | None:
        """Imitation's."""
        return self.imitation.validation_state

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, policy and head have their averaged weights, where averages are kept."""
        with self.imitation.averaged(), self.updater.averaged():
            yield

    def update(self, batches: Iterator[Batch], *, step: int) -> None:
        """Learns of each batch that imitation's update takes, before it does."""
        self.imitation.update(_passed_on(batches, self._learn_averaged), step=step)
        if self.updater.is_accumulating:
            self._apply()

    def validate(self, batches: Iterable[Batch]) -> Values:
        """Means over a pass of both."""
        with self.updater.averaged():
            values = self.imitation.validate(_passed_on(batches, self._validate))
        return {**values, **self.term.means(self._validation.take(), 0.0)}

    def take_report(self) -> Report:
        """Imitation's, with what was measured of values."""
        report = self.imitation.take_report()
        return report._replace(values={**report.values, **self.term.means(self._sums.take(), 0.0)})

    def reset(self) -> None:
        """Drops sums and streaks of both."""
        self.imitation.reset()
        self._sums.reset()

    def _learn_averaged(self, batch: dict[str, Any]) -> None:
        reads = self.term.reads_hidden
        with self.imitation.averaged() if reads else contextlib.nullcontext():
            self._learn(batch)

    def _learn_batch(self, batch: dict[str, Any]) -> None:
        hidden, inputs = self._read(batch, self.imitation.training_state)
        variables = [v.value for v in self.updater.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            learnt = self.term.learn(batch, hidden, inputs)
        gradients = tape.gradient(learnt.loss, variables)
        given = {"loss": learnt.loss, "weight": learnt.weight}
        if self.updater.is_accumulating:
            self.updater.accumulate(gradients, **given)
        else:
            self.updater.update(gradients, **given)
        self._sums.add(learnt.sums, tf.math.is_finite(learnt.loss))

    def _apply_accumulated(self) -> None:
        self.updater.update_accumulated()

    def _validate_batch(self, batch: dict[str, Any]) -> None:
        read = self._read(batch, self.imitation.validation_state)
        self._validation.add(self.term.learn(batch, *read).sums)

    def _read(self, batch: dict[str, Any], carried: CarriedState | None) -> tuple[Any, Any]:
        """What the head reads of a batch, and the batch unpacked; imitation carries the state."""
        policy = self.imitation.policy
        inputs = policy_inputs(batch, policy.config.head.codec, is_carried=carried is not None)
        if not self.term.reads_hidden:
            return None, inputs
        state = None if carried is None else carried.read()
        with ranges("frozen"):
            hidden, _ = unroll_hidden(policy, inputs, training=False, state=state)
        return hidden, inputs


def _passed_on(batches: Iterable[Batch], function: Any) -> Iterator[Batch]:
    """The same batches, each given to a function first."""
    for batch in batches:
        function(dict(batch))
        yield batch

"""What may be learnt beside a policy that does not notice: a value head."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np

from exphil_tf.training.metric import Metric, Values
from models.policy_inputs import Batch, PolicyInputs


class Learnt(NamedTuple):
    """What a term computes of a batch."""

    loss: Any
    """float32 `[]`, summed over frames by weight; its gradient is followed."""
    weight: Any
    """float32 `[]`, of those frames."""
    sums: dict[str, Any]
    """By the names of `sum_shapes`."""


class BesideTerm(Protocol):
    """A loss with a head of its own, which reads what a policy computes and changes nothing of it.

    It runs inside a compiled step.
    """

    @property
    def name(self) -> str:
        """Of its variables in checkpoints; one of a kind."""
        ...

    @property
    def reads_hidden(self) -> bool:
        """Whether it asks what the policy makes of a batch, which is a forward pass."""
        ...

    @property
    def variables(self) -> Sequence[keras.Variable]:
        """Of its head."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """What `means` returns; none of it selecting."""
        ...

    @property
    def sum_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of its sums by name."""
        ...

    def learn(self, batch: Batch, hidden: Any, inputs: PolicyInputs) -> Learnt:
        """Loss and sums of a batch.

        Args:
          batch: as the input pipeline yields it.
          hidden: float32 `[batch, time, features]`, what the policy's head reads; None unless
            `reads_hidden`.
          inputs: the batch unpacked.
        """
        ...

    def means(self, sums: Mapping[str, np.ndarray], frames: float) -> Values:
        """Its metrics, of sums over frames."""
        ...

"""What may join the loss of an imitation step besides the likelihood: a teacher, a value head.

`training.imitation_setup` collects the terms of a run, once its policy is there.
"""

import abc
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from exphil_tf.training.metric import Metric, Values
from models.heads.distribution import Logits
from models.policy_inputs import Batch, PolicyInputs


class StepOutputs(NamedTuple):
    """What the step has computed when a term is asked."""

    batch: Batch
    """As the input pipeline yields it."""
    inputs: PolicyInputs
    """The same, unpacked."""
    hidden: Any
    """What the policy's head read, `[batch, time, features]`; gradients flow into the policy."""
    logits: Logits
    """Of the policy that learns, float32 `[batch, time, …]`."""


class LossTerm(abc.ABC):
    """A term of the optimised loss, with what it trains and what it measures.

    Its variables are updated, averaged and checkpointed with the policy's, and are no part of the
    policy that is exported. A term runs inside the compiled step.
    """

    name: str
    """Of its variables in checkpoints; one of a kind."""
    variables: Sequence[keras.Variable] = ()
    """All of its own, the trainable ones among them."""
    carried: Mapping[str, tf.Variable] = MappingProxyType({})
    """What it remembers of the batch before, by names of its own; see `LearnerVariables`."""
    metrics: Sequence[Metric] = ()
    """What `means` returns; none of it selecting."""
    sum_shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """Shapes of the sums that `add` returns, by names that no other term has."""

    @abc.abstractmethod
    def add(self, loss: Any, outputs: StepOutputs, *, training: bool) -> tuple[Any, dict[str, Any]]:
        """Joins the loss.

        Args:
          loss: float32 `[batch, time]`, of each frame so far.
          outputs: of the policy.
          training: whether the loss is optimised; otherwise it is validated.

        Returns: float32 `[batch, time]`, the loss with this term, and sums over the batch's frames,
          each weighted by `outputs.inputs.weight`, by the names of `sum_shapes`.
        """

    def means(self, sums: Mapping[str, np.ndarray], frames: float) -> Values:
        """Its metrics, of sums over frames of this total weight."""
        del sums, frames
        return {}

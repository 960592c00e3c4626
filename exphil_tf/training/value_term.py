"""The value head's loss: the squared error against the discounted return of the recorded game.

A frame's return runs to the unroll's last frame and goes on with what the head itself says of that
one, so the last frame has none. It is cut where a game ends. Rewards are those between the states
that the batch holds: percent that augmentation has noised moves them by about as much as it was
moved, with mean 0.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from exphil_tf.checkpoints.value_weights import StoredValueHead
from exphil_tf.rewards.returns import discounted_returns, per_frame_discount, transitions
from exphil_tf.training.beside_term import Learnt
from exphil_tf.training.loss_term import LossTerm, StepOutputs
from exphil_tf.training.metric import Metric, Values
from exphil_tf.training.value_config import ValueConfig
from models.heads.value import ValueHead
from models.layers.backend import ops
from models.policy import Policy
from models.policy_inputs import Batch, PolicyInputs

METRICS = (
    # Mean squared error of values.
    Metric("value_loss", "value loss"),
    # 1 - Var(return - value) / Var(return): 0 for a constant, 1 for an oracle.
    Metric("explained_variance", "returns explained", ".3f", lower_is_better=False),
)


def make_value_term(config: ValueConfig, policy: Policy, *, seed: int) -> "ValueTerm | None":
    """A new value head for a policy, with its loss; None if none is wanted."""
    if not config.value_head:
        return None
    head = ValueHead(
        policy.backbone.width + policy.num_previous,
        hidden=config.value_hidden,
        stop_gradient=config.value_weight == 0,
        seed=seed,
        name="value",
    )
    return ValueTerm(head, half_life_frames=config.value_half_life, weight=config.value_weight)


class ValueTerm(LossTerm):
    """Teaches a value head, and through it the policy if its `weight` is not 0.

    Args:
      head: reads what the policy's head reads; its gradient must stop there for weight 0.
      half_life_frames: after which a reward counts half.
      weight: of the squared error in the policy's loss.
    """

    name = "value"
    metrics = METRICS
    reads_hidden = True
    sum_shapes = {
        "value_weight": (),  # summed weights of frames that have a return
        "value_error": (),  # return - value
        "value_squared_error": (),
        "value_return": (),
        "value_squared_return": (),
    }

    def __init__(self, head: ValueHead, *, half_life_frames: float, weight: float = 0.0):
        self.head = head
        self.half_life_frames = half_life_frames
        self.weight = weight
        self.variables = tuple(head.variables)
        self._discount = per_frame_discount(half_life_frames)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Of the head."""
        return list(self.head.trainable_variables)

    def stored(self) -> StoredValueHead:
        """The head as bundles hold it."""
        return StoredValueHead(self.head, self.half_life_frames)

    def add(self, loss: Any, outputs: StepOutputs, *, training: bool) -> tuple[Any, dict[str, Any]]:
        """See `LossTerm.add`."""
        del training
        squared, sums = self.squared_errors(outputs.hidden, outputs.inputs)
        return loss + self.weight * ops.pad(squared, [(0, 0), (0, 1)]), sums

    def learn(self, batch: Batch, hidden: Any, inputs: PolicyInputs) -> Learnt:
        """See `BesideTerm.learn`."""
        del batch
        sums = self.squared_errors(hidden, inputs)[1]
        return Learnt(sums["value_squared_error"], sums["value_weight"], sums)

    def squared_errors(self, hidden: Any, inputs: PolicyInputs) -> tuple[Any, dict[str, Any]]:
        """Errors of all frames but the last.

        Args:
          hidden: float32 `[batch, time, features]`.
          inputs: of the same frames.

        Returns: float32 `[batch, time - 1]`, and sums by the names of `sum_shapes`.
        """
        values = self.head(hidden)
        between = transitions(inputs.columns, inputs.is_resetting, discount=self._discount, xp=ops)
        bootstrap = ops.stop_gradient(values[:, -1])
        found = discounted_returns(between.reward, between.discount, bootstrap, xp=ops)
        error, weight = found - values[:, :-1], inputs.weight[:, :-1]
        squared = error * error
        terms = (ops.ones_like(error), error, squared, found, found * found)
        return squared, {
            name: ops.sum(weight * term) for name, term in zip(self.sum_shapes, terms, strict=True)
        }

    def means(self, sums: Mapping[str, np.ndarray], frames: float) -> Values:
        """See `LossTerm.means`; no explained variance where all returns are the same."""
        del frames
        total = float(sums["value_weight"])
        if total <= 0:
            return {}
        error, squared, mean, power = (float(sums[name]) / total for name in [*self.sum_shapes][1:])
        values = {"value_loss": squared}
        spread = power - mean * mean
        if spread > 1e-9 * max(power, 1e-9):
            values["explained_variance"] = 1.0 - (squared - error * error) / spread
        return values

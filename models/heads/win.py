"""The probability that the own player wins the game, from the score alone.

A few hundred games are a few hundred outcomes, however many frames they have: a head on a policy's
features would learn the games by heart. So it is a logistic regression on what both players have
left (`rewards.win_score`).
"""

from typing import Any

import keras
import numpy as np

from exphil_tf.rewards.win_score import NAMES, START, Weights, score_features
from models.layers.backend import ops
from models.layers.temporal import Tensor


class WinHead(keras.layers.Layer):
    """Logits of winning, from columns; even at first. It computes in float32.

    Call shape: columns `p.stock` and `p.percent` `[…, own/opponent]` of any number dtype give
    `[…]`.
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Builds its one vector."""
        if self.built:
            return
        start = keras.initializers.Constant(np.array(START, np.float32))
        self.score = self.add_weight(
            name="score", shape=(len(NAMES),), initializer=start, dtype="float32"
        )
        self.built = True

    def features(self, columns: dict[str, Tensor]) -> Tensor:
        """What the weights are of, float32 `[…, 7]`."""
        return score_features(columns, xp=ops)

    def call(self, columns: dict[str, Tensor]) -> Tensor:
        """Logits, float32 `[…]`."""
        return ops.sum(self.features(columns) * self.score, axis=-1)

    def weights_by_name(self) -> Weights:
        """Its weights as `rewards.win_score` takes them."""
        return dict(zip(NAMES, np.asarray(self.score.value).tolist(), strict=True))

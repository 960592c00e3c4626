"""The probability that the own player wins the game, from the score alone.

A few hundred games are a few hundred outcomes, however many frames they have: a head on a policy's
features would learn the games by heart. So it is a logistic regression on what both players have
left, with one set of weights for both: from the other side of the game the probability is what is
missing to 1.
"""

from typing import Any

import keras
import numpy as np

from models.layers.backend import ops
from models.layers.temporal import Tensor

STOCKS = (1, 2, 3, 4)
"""Stocks left, each with a weight of its own; more count as the last."""
_OWN, _OPPONENT = 0, 1
_PACE = 10.0
"""Optimizers of the Adam kind move a variable by the learning rate at most, and scores are of size
2: without this a run of some hundred updates would not reach them."""


class WinHead(keras.layers.Layer):
    """Logits of winning, from columns; 0, which is even, at first. It computes in float32.

    Call shape: columns `p.stock` and `p.percent` `[…, own/opponent]` of any number dtype give
    `[…]`. Its weights are those of the stocks, of percent / 100, of its square, and of percent on
    the last stock.
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Builds its one vector."""
        if self.built:
            return
        self.score = self.add_weight(
            name="score", shape=(len(STOCKS) + 3,), initializer="zeros", dtype="float32"
        )
        self.built = True

    def call(self, columns: dict[str, Tensor]) -> Tensor:
        """Logits, float32 `[…]`."""
        stock = ops.minimum(ops.cast(columns["p.stock"], "float32"), float(STOCKS[-1]))
        percent = ops.cast(columns["p.percent"], "float32") * 0.01
        left = ops.cast(stock[..., None] == np.array(STOCKS, np.float32), "float32")
        damage = ops.stack([percent, percent * percent, percent * left[..., 0]], axis=-1)
        worth = ops.sum(ops.concatenate([left, damage], axis=-1) * (_PACE * self.score), axis=-1)
        return worth[..., _OWN] - worth[..., _OPPONENT]

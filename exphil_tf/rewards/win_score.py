"""How probable a win is by the score: a logistic regression on what both players have left.

There is one set of weights for both players, so that from the other side of the game the
probability is what is missing to 1. Its weights by name, `Weights`, are all there is to it: what
learns them, measures them or plays by them computes with the functions here, in numpy or in a
graph.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from exphil_tf.rewards.terms import OPPONENT, OWN, Columns

STOCKS = (0, 2, 3, 4)
"""Stocks left whose worth is a weight, more counting as the last; one stock is worth 0."""
NAMES = (
    *(f"stocks_{count}" for count in STOCKS),
    "percent",  # / 100
    "percent_squared",  # / 10,000
    "percent_on_last_stock",  # / 100
)
"""What is weighted, in the order of features."""
START = (-10.0, *(0.0 for _ in NAMES[1:]))
"""Weights before anything is learnt: who has no stock left has lost, all else is even. Recordings
end with the last stock, so that the first of them is hardly ever learnt."""
Weights = Mapping[str, float]
"""By the names of `NAMES`."""


def score_features(columns: Columns, xp: Any = np) -> Any:
    """Own minus opponent's features, float32 `[…, 7]`.

    Args:
      columns: `p.stock` and `p.percent` `[…, own/opponent]` of any number dtype.
      xp: `numpy` or `keras.ops`.
    """
    stock = xp.minimum(xp.array(columns["p.stock"], dtype="float32"), float(STOCKS[-1]))
    percent = xp.array(columns["p.percent"], dtype="float32") * 0.01
    is_last = xp.array(stock == 1.0, dtype="float32")
    left = [xp.array(stock == float(count), dtype="float32") for count in STOCKS]
    features = xp.stack([*left, percent, percent * percent, percent * is_last], axis=-1)
    return features[..., OWN, :] - features[..., OPPONENT, :]


def win_logits(columns: Columns, vector: Any, xp: Any = np) -> Any:
    """Logits of winning, float32 `[…]`.

    Args:
      columns: see `score_features`.
      vector: float32 `[7]`, weights in the order of `NAMES`.
      xp: `numpy` or `keras.ops`.
    """
    return xp.sum(score_features(columns, xp) * vector, axis=-1)


def win_probability(columns: Columns, weights: Weights) -> np.ndarray:
    """Probability that the own player wins, float32 `[…]`; see `score_features`."""
    return 0.5 + 0.5 * np.tanh(0.5 * win_logits(columns, as_vector(weights)))


def as_vector(weights: Weights) -> np.ndarray:
    """Weights in the order of `NAMES`, float32 `[7]`.

    Raises: ValueError: if one is missing, unknown or no finite number.
    """
    if set(weights) != set(NAMES) or not all(map(_is_number, weights.values())):
        raise ValueError(
            f"win_probability: want finite numbers {list(NAMES)}. Received: {dict(weights)!r:.200}"
        )
    return np.array([weights[name] for name in NAMES], np.float32)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)

"""How often each bucket of a controller follows the one before it, component by component.

A table of counts says nothing of buckets that were seen seldom. So each row leans on what is known
without it: stay with the share of frames that nothing changes, else draw by how often each bucket
occurs at all (MacKay & Peto 1995). How many frames that opinion counts for is chosen per component
where each frame is best predicted by all others. One more frame, shared evenly by all buckets,
keeps everything finite.
"""

import math
from collections.abc import Mapping

import numpy as np

from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import BUTTONS

STRENGTHS = (0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
"""Frames that the opinion without a row's own counts may weigh."""

Buckets = Mapping[str, np.ndarray]


class TransitionCounts:
    """Counts pairs of a bucket and the one before it.

    Args:
      sizes: logits per component, as `ControllerCodec.sizes`.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.pairs = {name: np.zeros((sizes[name],) * 2) for name in COMPONENTS[1:]}
        """Weight of frames by `[previous bucket, bucket]`; buttons are eight components of two
        buckets, `[button, previous, pressed]`."""
        self.pairs["buttons"] = np.zeros((len(BUTTONS), 2, 2))

    def add(self, targets: Buckets, previous: Buckets, weights: np.ndarray) -> None:
        """Counts frames.

        Args:
          targets: integers `[frames]` per component, buttons `[frames, 8]` of 0/1.
          previous: of the frames before, likewise.
          weights: `[frames]`, of each frame.
        """
        for name in COMPONENTS:
            shape = self.pairs[name].shape
            places = previous[name] * shape[-1] + targets[name]
            places = places.reshape(len(weights), math.prod(shape[:-2])).astype(np.int64)
            counts = [np.bincount(p, weights, shape[-1] ** 2) for p in places.T]
            self.pairs[name] += np.reshape(counts, shape)

    def rates(self) -> dict[str, np.ndarray]:
        """p(bucket | previous bucket), float64 shaped as `pairs`; rows sum to 1."""
        rates = {name: transition_rates(self.pairs[name]) for name in COMPONENTS[1:]}
        return rates | {"buttons": np.stack([transition_rates(p) for p in self.pairs["buttons"]])}


def transition_rates(pairs: np.ndarray) -> np.ndarray:
    """p(bucket | previous bucket) of one component, smoothed as the module says; rows sum to 1.

    Args:
      pairs: float64 `[previous, bucket]`, weight of the frames with this pair.
    """
    buckets, frames = len(pairs), pairs.sum()
    stay = (np.trace(pairs) + 1) / (frames + 2)
    marginal = (pairs.sum(0) + 1) / (frames + buckets)
    opinion = stay * np.eye(buckets) + (1 - stay) * marginal
    rows = pairs.sum(-1, keepdims=True)

    def prior(strength: float) -> np.ndarray:
        return strength * opinion + 1 / buckets

    def left_one_out(strength: float) -> float:
        """Log-likelihood of every frame by the counts of all others."""
        hits, seen = np.maximum(pairs - 1, 0), np.maximum(rows - 1, 0)
        return float((pairs * np.log((hits + prior(strength)) / (seen + strength + 1))).sum())

    strength = max(STRENGTHS, key=left_one_out)
    return (pairs + prior(strength)) / (rows + strength + 1)

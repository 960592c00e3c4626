"""A new policy's head starts as how often each bucket follows the one before it."""

import math
from collections.abc import Iterable

import numpy as np

from exphil_tf.data.epoch_size import EpochSize
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.features.transitions import TransitionCounts
from models.policy_inputs import Batch

FRAMES = 250_000
"""Frames that are counted at the start of a run, in about a second: more change no rate by much,
and training moves all of them."""


def num_batches(epoch: EpochSize) -> int:
    """Batches to count: as many as hold `FRAMES`, and none twice."""
    return min(epoch.steps, math.ceil(FRAMES * epoch.steps / max(epoch.labelled_frames, 1)))


def transition_rates_of(batches: Iterable[Batch], codec: ControllerCodec) -> dict[str, np.ndarray]:
    """p(bucket | bucket before), as `TransitionCounts.rates`, over the frames with a loss weight.

    Args:
      batches: of `exphil_tf.data.input`, finitely many.
      codec: the policy's buckets.
    """
    counts = TransitionCounts(codec.sizes)
    for batch in batches:
        counted = np.asarray(batch["weight"]) > 0
        buckets = codec.encode(np.asarray(batch["actions"]))
        counts.add(
            {name: values[:, 1:][counted] for name, values in buckets.items()},
            {name: values[:, :-1][counted] for name, values in buckets.items()},
            np.ones(int(counted.sum())),
        )
    return counts.rates()

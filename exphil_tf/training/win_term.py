"""The win probability's loss: cross-entropy against who won the recorded game.

It is fitted by maximum likelihood (`newton_updater`), and no map corrects it afterwards: fitted on
nine tenths of 307 games, the logits of the others need a factor of 1.00.

Reported are its mean, the Brier score, and the expected calibration error over 15 equal bins
(Naeini et al. 2015). Frames of a game share one outcome: with thirty games to validate on, a
perfectly calibrated probability shows an error of some hundredths too.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from exphil_tf.training.beside_term import Learnt
from exphil_tf.training.metric import Metric, Values
from models.heads.win import WinHead
from models.layers.backend import ops
from models.policy_inputs import Batch, PolicyInputs

BINS = 15
RIDGE = 10.0
"""Curvature of the belief in the head's start, in frames: less than the first unroll has."""
METRICS = (
    Metric("win_loss", "win loss"),  # nats
    Metric("win_brier", "win Brier score"),
    Metric("win_calibration_error", "win calibration error"),
)


class WinTerm:
    """Teaches a `WinHead`; a `BesideTerm`."""

    name = "win"
    metrics = METRICS
    reads_hidden = False
    sum_shapes = {
        "win_weight": (),  # summed weights of frames of games that somebody won
        "win_cross_entropy": (),
        "win_squared_error": (),
        # Of the frames whose probability is in each bin:
        "win_bin_weight": (BINS,),
        "win_bin_probability": (BINS,),
        "win_bin_won": (BINS,),
    }

    def __init__(self, head: WinHead):
        self.head = head
        self.variables = tuple(head.variables)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Of the head."""
        return list(self.head.trainable_variables)

    def learn(self, batch: Batch, hidden: Any, inputs: PolicyInputs) -> Learnt:
        """See `BesideTerm.learn`."""
        del hidden
        features = self.head.features(inputs.columns)
        logits = ops.sum(features * self.head.score, axis=-1)
        known = ops.cast(batch["won"] >= 0, "float32")[:, None]
        won = ops.cast(batch["won"] > 0, "float32")[:, None] + ops.zeros_like(logits)
        weight = inputs.weight * known
        loss = ops.softplus(logits) - won * logits
        probability = ops.sigmoid(logits)
        error = probability - won
        place = ops.minimum(ops.cast(ops.floor(probability * BINS), "int32"), BINS - 1)
        bins = ops.one_hot(place, BINS, dtype="float32") * weight[..., None]
        sums = {
            "win_weight": ops.sum(weight),
            "win_cross_entropy": ops.sum(weight * loss),
            "win_squared_error": ops.sum(weight * error * error),
            "win_bin_weight": ops.sum(bins, axis=(0, 1)),
            "win_bin_probability": ops.sum(bins * probability[..., None], axis=(0, 1)),
            "win_bin_won": ops.sum(bins * won[..., None], axis=(0, 1)),
        }
        spread = (weight * probability * (1.0 - probability))[..., None]
        curvature = ops.einsum("bti,btj->ij", spread * features, features)
        return Learnt(sums["win_cross_entropy"], sums["win_weight"], sums, curvature)

    def means(self, sums: Mapping[str, np.ndarray], frames: float) -> Values:
        """Its metrics; none where no game has a winner."""
        del frames
        total = float(sums["win_weight"])
        if total <= 0:
            return {}
        gaps = np.abs(sums["win_bin_probability"] - sums["win_bin_won"])
        return {
            "win_loss": float(sums["win_cross_entropy"]) / total,
            "win_brier": float(sums["win_squared_error"]) / total,
            "win_calibration_error": float(gaps.sum()) / total,
        }

"""Sums of what is measured, kept on the device so that a step never waits for the host.

Reading them is one transfer per `log_interval`. They are float64: a validation split is summed
exactly enough that its order and batch size don't matter.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.training import losses
from models.layers.backend import ops

SHAPES: dict[str, tuple[int, ...]] = {
    "weight": (),  # summed frame weights, by which the rest is divided
    "loss": (),  # optimised loss
    "nll_buttons": (len(BUTTONS),),
    "nll": (len(losses.CATEGORICAL),),
    "predicted": (len(BUTTONS),),  # probability given to a press
    "actual": (len(BUTTONS),),
}


class Measured(NamedTuple):
    """Means over frames, on the host."""

    frames: float
    """Summed frame weights."""
    loss: float
    """The optimised loss; not comparable between configurations."""
    nll: dict[str, float]
    """Nats per frame of each component; `buttons` is the sum over eight."""
    nll_buttons: dict[str, float]
    """Nats per frame of each button."""
    predicted: dict[str, float]
    """Mean probability that the policy gives to each button."""
    actual: dict[str, float]
    """Share of frames on which each button is held."""

    @property
    def total(self) -> float:
        """Nats per frame of the whole controller: the metric that runs are compared by."""
        return sum(self.nll.values())


def sums(
    logits: Mapping[str, Any], targets: Mapping[str, Any], *, loss: Any, weight: Any
) -> dict[str, Any]:
    """Weighted sums over the frames of a batch, by the names of `SHAPES`.

    Args:
      logits: as in `losses.nll`, `[batch, time, …]`.
      targets: likewise.
      loss: float32 `[batch, time]`, optimised loss of each frame.
      weight: float32 `[batch, time]`.
    """
    terms = losses.nll(logits, targets)

    def over_frames(values: Any) -> Any:
        return ops.einsum("bt,btk->k", weight, ops.cast(values, weight.dtype))

    return {
        "weight": ops.sum(weight),
        "loss": ops.sum(weight * loss),
        "nll_buttons": over_frames(terms["buttons"]),
        "nll": over_frames(ops.stack([terms[name] for name in losses.CATEGORICAL], axis=-1)),
        "predicted": over_frames(ops.sigmoid(logits["buttons"])),
        "actual": over_frames(targets["buttons"]),
    }


class Totals:
    """Running sums in `tf.Variable`s."""

    def __init__(self) -> None:
        self.variables = {
            name: tf.Variable(tf.zeros(shape, tf.float64), trainable=False, name=name)
            for name, shape in SHAPES.items()
        }

    def add(self, batch_sums: Mapping[str, Any], keep: Any = True) -> None:
        """Adds a batch's sums, unless `keep` (bool `[]`) is False (its loss was not finite)."""
        for name, variable in self.variables.items():
            value = tf.cast(batch_sums[name], tf.float64)
            variable.assign_add(tf.where(keep, value, tf.zeros_like(value)))

    def reset(self) -> None:
        """Sets every sum to zero."""
        for variable in self.variables.values():
            variable.assign(tf.zeros_like(variable))

    def measured(self) -> Measured | None:
        """Means so far; None before the first frame."""
        return measured({name: v.numpy() for name, v in self.variables.items()})


def measured(totals: Mapping[str, np.ndarray]) -> Measured | None:
    """Means of summed values; None if no frame was counted."""
    frames = float(totals["weight"])
    if frames <= 0:
        return None

    def named(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
        return {name: float(v) / frames for name, v in zip(names, values, strict=True)}

    buttons = named(tuple(BUTTONS), totals["nll_buttons"])
    others = named(losses.CATEGORICAL, totals["nll"])
    nll = {"buttons": sum(buttons.values())} | others
    return Measured(
        frames=frames,
        loss=float(totals["loss"]) / frames,
        nll={name: nll[name] for name in COMPONENTS},
        nll_buttons=buttons,
        predicted=named(tuple(BUTTONS), totals["predicted"]),
        actual=named(tuple(BUTTONS), totals["actual"]),
    )

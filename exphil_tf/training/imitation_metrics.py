"""What imitation reports of a policy on the frames of a batch, and what it calls it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.training import losses
from exphil_tf.training.metric import Metric
from models.layers.backend import ops

METRICS = (
    # Nats per frame of the whole controller: what runs are compared by.
    Metric("nll_total", "nll", is_selecting=True),
    # The same of the weights before rounding, where they are rounded.
    Metric("nll_total_float", "unrounded"),
    # Of each component; `buttons` is the sum over eight.
    Metric("nll", "nll by component", ".3f"),
    Metric("nll_buttons"),
    # Mean probability that the policy gives to each button, and the share of frames it is held on.
    Metric("press_rate"),
    # What is optimised; not comparable between configurations.
    Metric("loss"),
    Metric("lr", "lr", ".2e"),
    # Global gradient norm of the latest update that was made, before clipping.
    Metric("grad_norm"),
)
SHAPES: dict[str, tuple[int, ...]] = {
    "weight": (),  # summed frame weights, by which the rest is divided
    "loss": (),  # optimised loss
    "nll_buttons": (len(BUTTONS),),
    "nll": (len(losses.CATEGORICAL),),
    "predicted": (len(BUTTONS),),  # probability given to a press
    "actual": (len(BUTTONS),),
}


def batch_sums(
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


def means(sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The metrics of summed values, by the names of `METRICS`; empty if no frame was counted."""
    frames = float(sums["weight"])
    if frames <= 0:
        return {}

    def named(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
        return {name: float(v) / frames for name, v in zip(names, values, strict=True)}

    buttons = named(tuple(BUTTONS), sums["nll_buttons"])
    others = named(losses.CATEGORICAL, sums["nll"])
    nll = {"buttons": sum(buttons.values())} | others
    nll = {name: nll[name] for name in COMPONENTS}
    return {
        "nll_total": sum(nll.values()),
        "nll": nll,
        "nll_buttons": buttons,
        "press_rate": {
            "predicted": named(tuple(BUTTONS), sums["predicted"]),
            "actual": named(tuple(BUTTONS), sums["actual"]),
        },
        "loss": float(sums["loss"]) / frames,
    }

"""What is optimised, and what is reported: two numbers that are never mixed up.

*Reported* is the plain negative log-likelihood in nats per frame, per component, without weights,
smoothing or focus, so that training and validation, and any two runs, compare.

*Optimised* is the same sum, the likelihood of the whole action, optionally shaped: label smoothing
of sticks and shoulder, focal weighting, a weight on pressed buttons. The original differs in two
ways. It took the mean of the eight buttons, so that each counted an eighth of a stick axis, and
buttons were learned last and worst. And it smoothed buttons: a button with smoothing ε is pressed
on a share ε of the frames when sampled, and together with a weight w on wε/(wε + 1 − ε), above one
half for w > 1/ε, so that a policy pressed what nobody presses. Here buttons are never smoothed.

Components are those of `features.controller`: `buttons` `[…, 8]` are independent Bernoullis, the
others categorical. A component's logits are `[…, buckets]`, its target int32 `[…]`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.training.run_config import LossConfig, button_numbers
from models.heads import distribution
from models.layers.backend import ops

CATEGORICAL = COMPONENTS[1:]
MAX_AUTO_WEIGHT = 30.0


def button_weights(setting: str, press_rates: Sequence[float] | None) -> np.ndarray:
    """float32 `[8]`: weight of each button's pressed frames.

    Args:
      setting: `LossConfig.button_pos_weight`.
      press_rates: share of training frames with each button held; needed for `auto`, which gives
        clip(√((1 − r) / r), 1, 30), so rare buttons count more but not in inverse proportion.

    Raises: ValueError: if `auto` has no press rates to work on.
    """
    if setting != "auto":
        return np.broadcast_to(np.array(button_numbers(setting), np.float32), len(BUTTONS)).copy()
    if press_rates is None or len(press_rates) != len(BUTTONS):
        raise ValueError(
            "button_pos_weight: auto wants the dataset's eight press rates. "
            f"Received: {press_rates!r}"
        )
    rates = np.clip(np.array(press_rates, np.float64), 1e-9, 1.0)
    return np.clip(np.sqrt((1 - rates) / rates), 1.0, MAX_AUTO_WEIGHT).astype(np.float32)


def nll(logits: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
    """Negative log-likelihood in nats.

    Args:
      logits: per component float32, buttons `[…, 8]`, the others `[…, buckets]`.
      targets: per component int32, buttons `[…, 8]` of 0/1, the others `[…]`.

    Returns: float32, buttons `[…, 8]` (one term per button), the others `[…]`.
    """
    terms = {"buttons": distribution.button_nll(logits["buttons"], targets["buttons"])}
    return terms | {c: distribution.categorical_nll(logits[c], targets[c]) for c in CATEGORICAL}


def optimised(
    logits: Mapping[str, Any],
    targets: Mapping[str, Any],
    *,
    config: LossConfig,
    pos_weight: np.ndarray,
) -> Any:
    """float32 `[…]`: the optimised loss of each frame.

    Args:
      logits: as in `nll`.
      targets: as in `nll`.
      config: shaping.
      pos_weight: float32 `[8]` from `button_weights`.
    """
    gamma = config.focal_gamma if config.focal_loss else 0.0
    buttons = _shaped_buttons(
        logits["buttons"],
        targets["buttons"],
        pos_weight=pos_weight,
        gamma=gamma,
    )
    total = ops.sum(buttons, axis=-1)
    for component in CATEGORICAL:
        total += _shaped_categorical(
            logits[component], targets[component], smoothing=config.label_smoothing, gamma=gamma
        )
    return total


def _log_probability(log_probabilities: Any, target: Any) -> Any:
    # A product with a one-hot: a gather's gradient is a scatter, which XLA serialises.
    one_hot = ops.one_hot(target, log_probabilities.shape[-1], dtype=log_probabilities.dtype)
    return ops.sum(one_hot * log_probabilities, axis=-1)


def _shaped_buttons(logits: Any, target: Any, *, pos_weight: np.ndarray, gamma: float) -> Any:
    pressed = ops.cast(target, logits.dtype)
    log_on, log_off = -ops.softplus(-logits), -ops.softplus(logits)
    loss = -(pos_weight * pressed * log_on + (1 - pressed) * log_off)
    if gamma:
        true = ops.exp(pressed * log_on + (1 - pressed) * log_off)
        loss *= _focus(true, gamma)
    return loss


def _shaped_categorical(logits: Any, target: Any, *, smoothing: float, gamma: float) -> Any:
    log_probabilities = ops.log_softmax(logits)
    true = _log_probability(log_probabilities, target)
    loss = -true
    if smoothing:
        others = (ops.sum(log_probabilities, axis=-1) - true) / (logits.shape[-1] - 1)
        loss = -((1 - smoothing) * true + smoothing * others)
    return loss * _focus(ops.exp(true), gamma) if gamma else loss


def _focus(true_probability: Any, gamma: float) -> Any:
    # The floor keeps the power's gradient finite at probability 1 for exponents below 1.
    return ops.power(ops.maximum(1 - true_probability, 1e-7), gamma)

"""Losses of learning by playing, per frame, as pure functions of tensors `[batch, time]`.

All are float32 and are to be minimised; who sums them weighs the frames.
"""

from typing import Any

from models.layers.backend import ops

MOST_LOG_RATIO = 20.0
"""A ratio beyond e to this is none that could be learnt from, and must not overflow."""


def clipped_policy_loss(log_ratio: Any, advantage: Any, *, clip: float) -> Any:
    """PPO's clipped objective (Schulman et al. 2017, equation 7), negated.

    Args:
      log_ratio: log-probability of the whole action by the policy that learns minus that by the
        policy that played.
      advantage: of the action.
      clip: ε.
    """
    ratio = ops.exp(ops.clip(log_ratio, -MOST_LOG_RATIO, MOST_LOG_RATIO))
    bounded = ops.clip(ratio, 1.0 - clip, 1.0 + clip)
    return -ops.minimum(ratio * advantage, bounded * advantage)


def policy_gradient_loss(log_prob: Any, advantage: Any) -> Any:
    """Its gradient is the policy gradient; V-trace's advantage has the clipped ratio in it."""
    return -log_prob * ops.stop_gradient(advantage)


def clipped_value_loss(value: Any, before: Any, target: Any, *, clip: float) -> Any:
    """Half the squared error, or that of the value moved by at most `clip`: the greater one.

    Args:
      value: by the value head that learns.
      before: by the head before this update.
      target: what it should be.
      clip: in units of value; 0 does not clip.
    """
    error = ops.square(value - target)
    if not clip:
        return 0.5 * error
    near = before + ops.clip(value - before, -clip, clip)
    return 0.5 * ops.maximum(error, ops.square(near - target))

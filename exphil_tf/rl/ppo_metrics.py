"""What is told of updates by PPO and V-trace: sums over rollouts and steps, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from exphil_tf.rl.returns import Estimates
from exphil_tf.rl.rollout import Rollout
from exphil_tf.training.metric import Metric

_FRAMES_PER_MINUTE = 3600
_TERM = "term/"
STEP_SUMS = (
    "weight", "policy_loss", "value_loss", "entropy", "kl_teacher", "kl_teacher_reverse",
    "clipped", "loss",
)  # fmt: skip
"""Of each step, over the frames of its minibatch."""
ROLLOUT_SUMS = (
    "frames", "counted", "reward", "games", "wins", "stocks", "actor_kl", "behaviour_gap",
    "target", "squared_target", "error", "squared_error",
)  # fmt: skip
"""Of each rollout, over its frames or games; beside them `term_sum` of every reward term."""


METRICS = (
    # Per minute of play, of what is learnt from.
    Metric("reward", "reward a minute", ".3f", lower_is_better=False, is_selecting=True),
    Metric("win_rate", "won", ".3f", lower_is_better=False),
    Metric("games"),
    Metric("stock_lead", lower_is_better=False),
    Metric("reward_terms"),
    Metric("won_against"),
    Metric("restarts"),
    Metric("policy_loss"),
    Metric("value_loss"),
    Metric("explained_variance", "returns explained", ".3f", lower_is_better=False),
    Metric("entropy", "entropy", ".3f"),
    Metric("kl_teacher", "from teacher", ".4f"),
    Metric("kl_teacher_reverse"),
    Metric("actor_kl", "moved", ".5f"),
    Metric("behaviour_gap"),
    Metric("clip_fraction"),
    Metric("reverted"),
    Metric("step_scale"),
    Metric("grad_norm"),
    Metric("lr"),
    Metric("cpu_s"),
)


def term_sum(term: str) -> str:
    """The sum of a reward term, by name."""
    return _TERM + term


def rollout_sums(
    rollout: Rollout,
    read: Mapping[str, np.ndarray],
    *,
    estimates: Estimates,
    weight: np.ndarray,
    moved: float,
    delay: int,
) -> dict[str, np.float64]:
    """`ROLLOUT_SUMS` and the terms of a rollout.

    Args:
      rollout: what was played.
      read: `values` `[rows, time + 1]` and `log_prob` `[rows, time]` before the update.
      estimates: what the update aimed at.
      weight: float32 `[rows, time]`, 0 where a frame does not count.
      moved: nats a frame from the policy before the update to the one after it.
      delay: frames between an answer and its effect.
    """
    frames, counted = float(weight.size), float(weight.sum())
    error = estimates.target - read["values"][:, :-1]
    gap = np.abs(read["log_prob"] - rollout.log_prob)[:, delay:]
    target, won = estimates.target, rollout.ended["won"]
    total = float(sum(rollout.reward_terms.values()))
    sums = {
        "frames": frames,
        "counted": counted,
        "reward": frames * total,
        "games": len(won),
        "wins": won.sum(),
        "stocks": rollout.ended["stocks"].sum(),
        "actor_kl": frames * moved,
        "behaviour_gap": frames * gap.mean(),
        "target": (weight * target).sum(),
        "squared_target": (weight * target**2).sum(),
        "error": (weight * error).sum(),
        "squared_error": (weight * error**2).sum(),
    }
    sums |= {term_sum(name): frames * mean for name, mean in rollout.reward_terms.items()}
    return {name: np.float64(value) for name, value in sums.items()}


def means(sums: Mapping[str, float], steps: Mapping[str, float]) -> dict[str, Any]:
    """What is told of the updates since the last report, by metric.

    Args:
      sums: `rollout_sums` of all of them, of at least one frame.
      steps: `STEP_SUMS` of all their steps.
    """
    frames, counted = sums["frames"], max(sums["counted"], 1.0)
    minutes = frames / _FRAMES_PER_MINUTE
    terms = [name.removeprefix(_TERM) for name in sums if name.startswith(_TERM)]
    values: dict[str, Any] = {
        "reward": sums["reward"] / minutes,
        "games": sums["games"],
        "reward_terms": {name: sums[_TERM + name] / minutes for name in terms},
        "actor_kl": sums["actor_kl"] / frames,
        "behaviour_gap": sums["behaviour_gap"] / frames,
    }
    if sums["games"]:
        values["win_rate"] = sums["wins"] / sums["games"]
        values["stock_lead"] = sums["stocks"] / sums["games"]
    spread = sums["squared_target"] / counted - (sums["target"] / counted) ** 2
    missed = sums["squared_error"] / counted - (sums["error"] / counted) ** 2
    if spread > 1e-12:
        values["explained_variance"] = 1.0 - missed / spread
    if steps["weight"]:
        names = ("policy_loss", "value_loss", "entropy", "kl_teacher", "kl_teacher_reverse")
        values |= {name: steps[name] / steps["weight"] for name in names}
        values["clip_fraction"] = steps["clipped"] / steps["weight"]
    return values

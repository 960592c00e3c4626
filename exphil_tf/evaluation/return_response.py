"""What a policy is predicted to gain for each return that it is asked for.

Nobody plays here, so it is estimated from held-out games by importance sampling. From each frame on
the human played half a second of inputs `a`, and so much was gained in the second in which the
first of them took effect. A policy that is told level `k` plays an input with the probability
`p(a | k)`, and with `p(a)` if it is told nothing. So a frame counts by the product of their ratios:
what the policy would now play more often counts more. The weighted mean of the gains (normalised)
is what a second would bring in which the policy plays, told `k`, from where humans came to by
themselves, and humans play on.

Humans stand for the policy that is told nothing, which learnt from them, and for the opponent, who
does what he did. The level is held all along, as in play, so that memory and later components of an
input know it. The longer the product, the more the policy has its way, and the fewer frames decide
the mean: over a second's inputs, one in a thousand. So weights are cut (Ionides 2008), which draws
every mean towards what humans gained. Only frames count whose second lies in one unroll; errors are
a jackknife's over batches.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from exphil_tf.data.unpack import unpack_columns
from exphil_tf.evaluation.results import ReturnMetrics
from exphil_tf.features.conditions import RETURN
from exphil_tf.rewards.coming_second import SECOND, ReturnLevels, sum_ahead
from exphil_tf.rewards.terms import OPPONENT
from models.heads import distribution
from models.policy import Policy
from models.policy_inputs import Batch, policy_inputs, unroll

INPUTS = 30
"""Inputs that the policy plays, in frames."""
MOST_WEIGHT = 4.0
"""Greatest weight of a frame, where that of the policy that is told nothing is 1."""
_READ = ("p.stock", "p.percent", "frame", "absent")


def measure_returns(
    batches: Iterable[Batch], policy: Policy, *, jit: bool = True, max_frames: int = 0
) -> list[ReturnMetrics]:
    """Predicted gains by level of the desired return, the policy that is told nothing first.

    Args:
      batches: of held-out games.
      policy: its embedding reads returns.
      jit: compile with XLA.
      max_frames: stop after the batch that reaches it; 0 reads all.

    Raises: ValueError: if the policy reads no returns, or no frame's second fits into an unroll.
    """
    levels = policy.config.embedding.return_levels
    if levels is None:
        raise ValueError("returns: want a policy with condition_on_return. Received: none")
    log_prob = _log_prob_fn(policy, jit=jit)
    sums, frames = [], 0
    for batch in batches:
        gains, counts = _gains(batch, levels)
        asked = range(levels.count + 1)
        log_probs = np.stack([log_prob(dict(batch), tf.constant(k)).numpy() for k in asked])
        sums.append(_sums(_log_ratios(log_probs)[:, counts], gains[:, counts]))
        frames += int(counts.sum())
        if max_frames and frames >= max_frames:
            break
    if not frames:
        raise ValueError(f"returns: want unrolls longer than {SECOND} labelled frames")
    return _metrics(np.stack(sums), levels, frames=frames)


def _log_prob_fn(policy: Policy, *, jit: bool) -> Any:
    codec = policy.config.head.codec

    @tf.function(jit_compile=jit, autograph=False, reduce_retracing=False)
    def log_prob(batch: dict[str, Any], level: Any) -> Any:
        """Log-probability of the human's inputs, float32 `[batch, time]`."""
        told = tf.fill(batch["weight"].shape[:1], level)
        inputs = policy_inputs(batch | {RETURN: told}, codec)
        return distribution.log_prob(unroll(policy, inputs, training=False), inputs.targets)

    return log_prob


def _gains(batch: Batch, levels: ReturnLevels) -> tuple[np.ndarray, np.ndarray]:
    """What followed each frame's input, and which frames count.

    Returns: float64 `[2, batch, time]`: percent dealt within a second, and the return; bool
      `[batch, time]`.
    """
    columns = {n: v.numpy() for n, v in unpack_columns(batch["state"], _READ).items()}
    weight, delay = np.asarray(batch["weight"]), int(np.asarray(batch["delay"])[0])
    time = weight.shape[1]
    returns = levels.returns(columns, valid=np.full(len(weight), time))
    percent = columns["p.percent"][..., OPPONENT].astype(np.float32)
    rise = np.maximum(np.diff(percent, axis=1, append=percent[:, -1:]), 0)
    dealt = sum_ahead(rise, frames=SECOND, discount=1.0)
    # An input takes effect `delay` frames on; before that nothing can follow from it.
    ahead = np.minimum(np.arange(time) + delay, time - 1)
    end = np.minimum(ahead + SECOND, time - 1)
    # Behind a game's end its last frame is repeated.
    is_whole = columns["frame"][:, end] - columns["frame"] == delay + SECOND
    return np.stack([dealt, returns])[..., ahead].astype(np.float64), (weight > 0) & is_whole


def _log_ratios(log_probs: np.ndarray) -> np.ndarray:
    """Log of what a frame counts at each level, uncut, float64 `[levels + 1, batch, time]`."""
    apart = log_probs.astype(np.float64) - log_probs[:1]
    return np.stack([sum_ahead(one, frames=INPUTS, discount=1.0) for one in apart])


def _sums(log_ratios: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """float64 `[levels + 1, 4]`: weights, their squares, weighted damage and return."""
    weights = np.exp(np.minimum(log_ratios, np.log(MOST_WEIGHT)))
    columns = (weights, weights**2, weights * gains[0], weights * gains[1])
    return np.stack([column.sum(-1) for column in columns], axis=-1)


def _metrics(sums: np.ndarray, levels: ReturnLevels, *, frames: int) -> list[ReturnMetrics]:
    total = sums.sum(0)
    errors = _jackknife(sums)
    return [
        ReturnMetrics(
            level=level,
            asked=levels.describe(level) if level else "nothing",
            frames=frames,
            damage=float(total[level, 2] / total[level, 0]),
            returns=float(total[level, 3] / total[level, 0]),
            error=errors[level],
            effective_share=float(total[level, 0] ** 2 / total[level, 1] / frames),
        )
        for level in range(levels.count + 1)
    ]


def _jackknife(sums: np.ndarray) -> list[float | None]:
    """Standard error of the mean return over that of the policy told nothing, by level.

    None where there is one batch only.
    """
    count = len(sums)
    if count < 2:
        return [None] * sums.shape[1]
    without = sums.sum(0) - sums
    means = without[..., 3] / np.maximum(without[..., 0], 1e-12)
    apart = means - means[:, :1]
    return np.sqrt((count - 1) * apart.var(axis=0)).tolist()

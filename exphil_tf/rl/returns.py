"""What actions were worth: advantages and value targets of unrolls, as pure functions.

Time is axis 1. `reward[t]` is what the transition from frame t to t + 1 gains and `discount[t]`
what the value of frame t + 1 counts there, as in rlax. How games end is told by two arrays, and
there is no branch:

* `discount[t] = 0`: frame t + 1 is *terminal*, the game is decided: it has no value.
* `is_cut[t]`: frame t is a game's last one and frame t + 1 another's first: nothing connects them.
  A game that the clock ended is only cut, so the frame before bootstraps from the value of its last
  frame, whatever the policy sees next. (The original took 0 there.)

With a delay d the action that is chosen at frame t becomes the controller of frame t + 1 + d, so
its first reward is `reward[t + d]`. `delayed` moves rewards to the frames of their actions, and
says which frames have any; from then on all is as without a delay, and a value is what is still to
be gained from the first frame on that the coming action decides. Leaving rewards where they are is
no error of the mean, but d rewards that the action cannot have caused stand in each advantage.

Everything runs in numpy and in graphs (`xp`); a loop over a static number of frames needs no scan.
"""

from typing import Any, NamedTuple

import numpy as np


class Transitions(NamedTuple):
    """What lies between the frames of unrolls."""

    reward: Any
    """float32 `[batch, time]`."""
    discount: Any
    """float32 `[batch, time]`, in [0, 1]; 0 where the next frame is terminal."""
    is_cut: Any
    """bool `[batch, time]`, where no game goes on to the next frame."""


class Estimates(NamedTuple):
    """What frames and their actions are worth."""

    advantage: Any
    """float32 `[batch, time]`, of the action over what was expected; 0 where a game is cut."""
    target: Any
    """float32 `[batch, time]`, what the frame's value should have been."""


def delayed(transitions: Transitions, *, delay: int) -> Transitions:
    """Transitions at the frames whose actions caused them.

    Args:
      transitions: `[batch, time + delay]`.
      delay: frames between a state and the input that answers it, beyond the game's own.

    Returns: `[batch, time]`. A frame is cut whose action comes too late for its game.

    Raises: ValueError: if no frame is left, or the delay is negative.
    """
    frames = transitions.reward.shape[1]
    if not 0 <= delay < frames:
        raise ValueError(f"delay: want 0 to {frames - 1} of {frames} frames. Received: {delay}")
    cut = transitions.is_cut[:, delay:]
    for earlier in range(delay):
        cut = cut | transitions.is_cut[:, earlier : frames - delay + earlier]
    return Transitions(transitions.reward[:, delay:], transitions.discount[:, delay:], cut)


def gae(transitions: Transitions, values: Any, *, decay: float, xp: Any = np) -> Estimates:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16).

    Args:
      transitions: `[batch, time]`.
      values: float32 `[batch, time + 1]`, the last one to bootstrap from.
      decay: λ: 0 is the one-step error, 1 the whole return.
      xp: `numpy` or `keras.ops`.

    Raises: ValueError: if shapes differ.
    """
    frames = _frames(transitions, values)
    reward, discount, is_cut = transitions
    error = reward + discount * values[:, 1:] - values[:, :-1]
    total, found = xp.zeros_like(values[:, 0]), []
    for t in reversed(range(frames)):
        total = error[:, t] + np.float32(decay) * discount[:, t] * total
        total = xp.where(is_cut[:, t], xp.zeros_like(total), total)
        found.append(total)
    advantage = xp.stack(found[::-1], axis=1)
    return Estimates(advantage, advantage + values[:, :-1])


def n_step(transitions: Transitions, values: Any, *, steps: int, xp: Any = np) -> Estimates:
    """Returns of n frames with what the value function says of the frame behind them.

    Where an unroll or a game ends before, it is fewer frames.

    Args:
      transitions: `[batch, time]`.
      values: float32 `[batch, time + 1]`, the last one to bootstrap from.
      steps: n, at least 1.
      xp: `numpy` or `keras.ops`.

    Raises: ValueError: if shapes differ or n is below 1.
    """
    frames = _frames(transitions, values)
    if steps < 1:
        raise ValueError(f"steps: want at least 1. Received: {steps}")
    reward, discount, is_cut = transitions
    total = values
    for _ in range(min(steps, frames)):
        later = reward + discount * total[:, 1:]
        kept = xp.where(is_cut, values[:, :-1], later)
        total = xp.concatenate([kept, values[:, -1:]], axis=1)
    target = total[:, :-1]
    return Estimates(target - values[:, :-1], target)


def vtrace(
    transitions: Transitions,
    values: Any,
    log_rhos: Any,
    *,
    decay: float = 1.0,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    xp: Any = np,
) -> Estimates:
    """V-trace (Espeholt et al. 2018, equations 1 and remark 2), for actions of an older policy.

    The advantage has the clipped ratio in it, as the policy gradient wants it.

    Args:
      transitions: `[batch, time]`.
      values: float32 `[batch, time + 1]`, the last one to bootstrap from.
      log_rhos: float32 `[batch, time]`, log-probability of the actions by the policy that learns
        minus that by the policy that played.
      decay: λ.
      clip_rho: ρ̄, bounds the temporal-difference errors.
      clip_c: c̄, bounds how far they are carried back.
      xp: `numpy` or `keras.ops`.

    Raises: ValueError: if shapes differ.
    """
    frames = _frames(transitions, values)
    reward, discount, is_cut = transitions
    rhos = xp.exp(log_rhos)
    rho = xp.minimum(rhos, np.float32(clip_rho))
    c = np.float32(decay) * xp.minimum(rhos, np.float32(clip_c))
    error = rho * (reward + discount * values[:, 1:] - values[:, :-1])
    total, found = xp.zeros_like(values[:, 0]), []
    for t in reversed(range(frames)):
        total = error[:, t] + discount[:, t] * c[:, t] * total
        total = xp.where(is_cut[:, t], xp.zeros_like(total), total)
        found.append(total)
    target = values[:, :-1] + xp.stack(found[::-1], axis=1)
    after = xp.concatenate([target[:, 1:], values[:, -1:]], axis=1)
    gained = rho * (reward + discount * after - values[:, :-1])
    return Estimates(xp.where(is_cut, xp.zeros_like(gained), gained), target)


def normalised(advantage: Any, weight: Any, xp: Any = np) -> Any:
    """Advantages with mean 0 and deviation 1 over the frames that count; float32 `[batch, time]`.

    Args:
      advantage: float32 `[batch, time]`.
      weight: float32 `[batch, time]`, 0 where a frame does not count.
      xp: `numpy` or `keras.ops`.
    """
    count = xp.maximum(xp.sum(weight), np.float32(1.0))
    mean = xp.sum(weight * advantage) / count
    centred = advantage - mean
    variance = xp.sum(weight * centred * centred) / count
    return weight * centred / (xp.sqrt(variance) + np.float32(1e-8))


def _frames(transitions: Transitions, values: Any) -> int:
    shape = tuple(transitions.reward.shape)
    others = [tuple(part.shape) for part in transitions[1:]]
    wanted = (shape[0], shape[1] + 1)
    if others != [shape, shape] or tuple(values.shape) != wanted or not shape[1]:
        raise ValueError(
            "returns: want reward, discount and is_cut of one shape [batch, time], and values "
            f"[batch, time + 1]. Received: {shape}, {others}, {tuple(values.shape)}"
        )
    return shape[1]

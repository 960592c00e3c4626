"""Discounted returns over consecutive frames, bootstrapped at the end and cut between games.

`reward[t]` is what the transition from frame t to t + 1 gains, `discount[t]` what the value of
frame t + 1 counts there. A discount of 0 ends a game, so there is no branch (rlax). One
implementation serves numpy and graphs (`xp`): a loop over a static number of frames, which is exact
and needs no scan.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.features.schema import SPOILED
from exphil_tf.rewards import terms
from exphil_tf.rewards.terms import WEIGHTS, Columns


class Transitions(NamedTuple):
    """What lies between consecutive frames."""

    reward: Any
    """float32 `[batch, time - 1]`."""
    discount: Any
    """float32 `[batch, time - 1]`, in [0, 1]; 0 where a game ends."""


def per_frame_discount(half_life_frames: float) -> float:
    """The discount at which a reward counts half after so many frames.

    Raises: ValueError: unless it is positive.
    """
    if not half_life_frames > 0:
        raise ValueError(f"half_life_frames: want a positive number. Received: {half_life_frames}")
    return 0.5 ** (1.0 / half_life_frames)


def transitions(
    columns: Columns,
    is_resetting: Any,
    *,
    discount: float,
    weights: Mapping[str, float] = WEIGHTS,
    xp: Any = np,
) -> Transitions:
    """Rewards and discounts between the frames of unrolls.

    Between two games there is no reward and no future; the last stock's loss ends a game too.
    Behind the end of a recording its last frame may be repeated: nothing happens there, and no time
    passes. Frames that are filled in or have a masked value (`SPOILED`) give no reward.

    Args:
      columns: `[batch, time, …]` from the own perspective, `frame` and `absent` among them; what
        holds for a whole unroll (`[batch]`) is left aside.
      is_resetting: bool `[batch, time]`, True on a game's first frame.
      discount: per frame, in [0, 1].
      weights: of the reward's terms.
      xp: `numpy` or `keras.ops`.
    """
    framed = {name: column for name, column in columns.items() if len(column.shape) > 1}
    before = {name: column[:, :-1] for name, column in framed.items()}
    after = {name: column[:, 1:] for name, column in framed.items()}
    begins = is_resetting[:, 1:]
    is_moving = after["frame"] != before["frame"]
    is_sound = xp.logical_and(before["absent"] < SPOILED, after["absent"] < SPOILED)
    is_played = xp.logical_and(xp.logical_not(begins), xp.logical_and(is_moving, is_sound))
    is_over = xp.logical_or(begins, xp.logical_and(is_sound, terms.decided(before, after, xp)))
    future = xp.where(is_moving, np.float32(discount), np.float32(1.0))
    gained = terms.reward(before, after, weights=weights, xp=xp)
    zero = np.float32(0.0)
    return Transitions(xp.where(is_played, gained, zero), xp.where(is_over, zero, future))


def discounted_returns(reward: Any, discount: Any, bootstrap: Any, *, xp: Any = np) -> Any:
    """Returns `G[t] = reward[t] + discount[t] * G[t + 1]`, starting from the bootstrap value.

    Args:
      reward: float32 `[batch, frames]`.
      discount: float32 `[batch, frames]`.
      bootstrap: float32 `[batch]`, value of the frame behind the last transition.
      xp: `numpy` or `keras.ops`.

    Returns: float32 `[batch, frames]`.

    Raises: ValueError: if shapes differ or there is no transition.
    """
    shape = tuple(reward.shape)
    if tuple(discount.shape) != shape or len(shape) != 2 or not shape[1]:
        raise ValueError(
            "returns: want reward and discount of one shape [batch, frames], at least one frame. "
            f"Received: {list(shape)} and {list(discount.shape)}"
        )
    total: Any = bootstrap
    found: list[Any] = []
    for t in reversed(range(shape[1])):
        total = reward[:, t] + discount[:, t] * total
        found.append(total)
    return xp.stack(found[::-1], axis=1)

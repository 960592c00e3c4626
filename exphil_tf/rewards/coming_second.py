"""What a player gains in the coming second, in percent and in levels.

The return of a frame sums the next `SECOND` transitions, discounted: percent dealt minus percent
taken, a stock counting `STOCK_PERCENT`. Near a game's end it is what is left. After the Decision
Transformer (Chen et al. 2021): a policy that learnt from players what they did before they gained
so much can be asked for it. A whole game's return says little about one frame's input; a second's
does, and is at hand in the record.

Levels rather than a number: half of all frames gain exactly nothing, and what is said of an
unlikely return is learnt from those frames alone. A level asks for *at least* its lower bound
(`data.conditions`): seconds that gain just nothing are quiet ones, and whoever asks for no loss
does not ask for quiet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exphil_tf.rewards.returns import per_frame_discount, transitions
from exphil_tf.rewards.terms import WEIGHTS, Columns

SECOND = 60
"""Frames ahead that count."""
STOCK_PERCENT = 100.0
_IN_PERCENT: Mapping[str, float] = {name: STOCK_PERCENT * w for name, w in WEIGHTS.items()}
MOST_LEVELS = 64


@dataclass(frozen=True)
class ReturnLevels:
    """How returns of the coming second are told apart."""

    edges: tuple[float, ...]
    """Percent at which a level ends and the next begins, ascending."""
    half_life_frames: float
    """After which a gain counts half."""

    def __post_init__(self) -> None:
        """Raises ValueError if there are no levels, or too many, or they are out of order."""
        edges = self.edges
        if not 1 <= len(edges) < MOST_LEVELS or not np.isfinite(edges).all():
            raise ValueError(
                f"return_edges: want 1 to {MOST_LEVELS - 1} numbers. Received: {edges}"
            )
        if list(edges) != sorted(set(edges)):
            raise ValueError(f"return_edges: want ascending numbers. Received: {edges}")
        if not 0 < self.half_life_frames < np.inf:
            raise ValueError(f"return_half_life: want above 0. Received: {self.half_life_frames}")

    @property
    def count(self) -> int:
        """Number of levels; their ids run from 1 to this."""
        return len(self.edges) + 1

    def level_of(self, percent: float) -> int:
        """The level that a return lies in, from 1; the highest that asks for no more."""
        return 1 + int(np.searchsorted(self.edges, percent, side="right"))

    def describe(self, level: int) -> str:
        """A level in words: `at least 1 %`."""
        return "any" if level == 1 else f"at least {self.edges[level - 2]:g} %"

    def returns(self, columns: Columns, *, valid: Any, xp: Any = np) -> Any:
        """Return of the coming second of every frame, in percent.

        Args:
          columns: `[batch, time, …]` from the own perspective: `p.stock`, `p.percent`, `frame` and
            `absent`; consecutive frames of one game in each row.
          valid: int `[batch]`, frames of each row; what lies behind is filling.
          xp: `numpy` or `keras.ops`.

        Returns: float32 `[batch, time]`.
        """
        frame = columns["frame"]
        nowhere = xp.zeros_like(frame) > 0
        gained = transitions(columns, nowhere, discount=1.0, weights=_IN_PERCENT, xp=xp).reward
        time = np.arange(1, frame.shape[1], dtype=np.int32)
        gained = xp.where(time[None] < valid[:, None], gained, np.float32(0.0))
        gained = xp.pad(gained, [(0, 0), (0, 1)])
        return sum_ahead(
            gained, frames=SECOND, discount=per_frame_discount(self.half_life_frames), xp=xp
        )

    def levels(self, columns: Columns, *, valid: Any, is_end: Any, xp: Any = np) -> Any:
        """Level of every frame's return; arguments and axes as of `returns`.

        Args:
          columns: see `returns`.
          valid: see `returns`.
          is_end: bool `[batch]`, whether the game ends with the last valid frame. If it does not,
            frames whose second is not all there have no level.
          xp: see `returns`.

        Returns: int32 `[batch, time]`, from 1; 0 where it is not known.
        """
        found = self.returns(columns, valid=valid, xp=xp)
        one, none = np.int32(1), np.int32(0)
        level = sum((xp.where(found >= np.float32(edge), one, none) for edge in self.edges), one)
        time = np.arange(found.shape[1], dtype=np.int32)[None]
        is_whole = time + SECOND < valid[:, None]
        is_known = xp.logical_or(is_whole, xp.logical_and(is_end[:, None], time < valid[:, None]))
        return xp.where(is_known, level, none)


def sum_ahead(values: Any, *, frames: int, discount: float, xp: Any = np) -> Any:
    """Discounted sums over the next frames, `sum(discount**k * values[t + k] for k < frames)`.

    By doubling: a sum over 2n frames is one over n and, discounted, the one n frames on.

    Args:
      values: float32 `[batch, time]`, 0 behind its end.
      frames: how many are summed, the frame itself being the first.
      discount: per frame.
      xp: `numpy` or `keras.ops`.
    """
    total, summed = xp.zeros_like(values), 0
    part, width = values, 1
    while summed < frames:
        if frames & width:
            total = total + np.float32(discount**summed) * _ahead(part, summed, xp)
            summed += width
        part = part + np.float32(discount**width) * _ahead(part, width, xp)
        width *= 2
    return total


def _ahead(values: Any, frames: int, xp: Any) -> Any:
    """What lies so many frames on; 0 behind the end."""
    frames = min(frames, values.shape[1])
    return xp.pad(values[:, frames:], [(0, 0), (0, frames)])

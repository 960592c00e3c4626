"""What a player is rewarded for, from one frame to the next.

A *term* reads the schema's columns before and after and gives the own player's gain. Every term is
zero-sum: from the other side of the game it has the opposite sign. `TERMS` names them all; a new
one is a function and a row there.

The terms are those of slippi-ai and of the original: stocks lost, and percent dealt. A stock is
told by the count and not by the action of dying, so that timing is the game's own. Percent that
falls is no damage: it falls to 0 with a stock. Win bonuses and shaped terms (approach, combo,
recovery) are left to the learners that want them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Columns = Mapping[str, Any]
"""Schema columns from the own perspective, `[…]`; per-player ones `[…, own/opponent]`."""
Term = Callable[[Columns, Columns, Any], Any]
"""`(before, after, xp) -> float32 […]`; `xp` is `numpy` or `keras.ops`."""

OWN, OPPONENT = 0, 1


def stocks(before: Columns, after: Columns, xp: Any = np) -> Any:
    """1 where the opponent loses a stock, -1 where the own player does; both cancel out."""
    lost = _numbers(before["p.stock"], xp) - _numbers(after["p.stock"], xp)
    # One at a time: a count that falls further was not recorded, or masked.
    return _difference(xp.clip(lost, 0.0, 1.0))


def damage(before: Columns, after: Columns, xp: Any = np) -> Any:
    """Percent dealt minus percent taken."""
    return _difference(suffered(before, after, xp))


def suffered(before: Columns, after: Columns, xp: Any = np) -> Any:
    """Percent by which each player's rose, float32 `[…, own/opponent]`."""
    rise = _numbers(after["p.percent"], xp) - _numbers(before["p.percent"], xp)
    return xp.maximum(rise, 0.0)


TERMS: dict[str, Term] = {"stocks": stocks, "damage": damage}

WEIGHTS: Mapping[str, float] = {"stocks": 1.0, "damage": 0.01}
"""A stock counts as much as 100 percent (slippi-ai, and the original)."""


def reward(
    before: Columns, after: Columns, *, weights: Mapping[str, float] = WEIGHTS, xp: Any = np
) -> Any:
    """Weighted sum of terms, float32 `[…]`.

    Args:
      before: columns of the frame before.
      after: of the frame after, of the same games.
      weights: of each term wanted, by its name in `TERMS`.
      xp: `numpy` or `keras.ops`.

    Raises: ValueError: if a term is unknown, or there is none.
    """
    unknown = sorted(weights.keys() - TERMS.keys())
    if unknown or not weights:
        raise ValueError(f"rewards: want some of {sorted(TERMS)}. Received: {sorted(weights)}")
    return sum(weight * TERMS[name](before, after, xp) for name, weight in weights.items())


def decided(before: Columns, after: Columns, xp: Any = np) -> Any:
    """Bool `[…]`: a player lost the last stock, so nothing can be gained any more."""
    had, has = _numbers(before["p.stock"], xp), _numbers(after["p.stock"], xp)
    return xp.any(xp.logical_and(had > 0, has == 0), axis=-1)


def _difference(of_players: Any) -> Any:
    """What the opponent suffers minus what the own player does."""
    return of_players[..., OPPONENT] - of_players[..., OWN]


def _numbers(column: Any, xp: Any) -> Any:
    return xp.array(column, dtype="float32")

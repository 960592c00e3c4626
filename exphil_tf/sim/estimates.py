"""Robust estimates of constants from many frames: the commonest value, or the line of most.

The game computes with constants, so a constant shows as a value that thousands of frames share to
the last digit, among others that something else had a hand in. A mean would mix the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIGITS = 4
"""Decimals to which values are taken for the same."""


@dataclass(frozen=True)
class Estimate:
    """A constant.

    Attributes:
      value: NaN if nothing was found.
      count: frames that show it.
      spread: distance of the 5th to the 95th percentile of those frames' values.
      share: of all frames that were asked.
    """

    value: float
    count: int = 0
    spread: float = 0.0
    share: float = 0.0


NOTHING = Estimate(float("nan"))


def commonest(values: np.ndarray, rank: int = 0) -> Estimate:
    """The value that most frames share, or the next one down by `rank`."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return NOTHING
    kinds, counts = np.unique(np.round(values, DIGITS), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    if rank >= len(order):
        return NOTHING
    near = values[np.abs(values - kinds[order[rank]]) < 10**-DIGITS]
    return _estimate(near, len(values))


def largest(values: np.ndarray) -> Estimate:
    """The bound that values reach again and again."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return NOTHING
    return _estimate(values[values > values.max() - 10**-DIGITS], len(values))


def line(design: np.ndarray, values: np.ndarray) -> list[Estimate]:
    """Coefficients of the linear relation that most rows follow.

    Draws as many rows as there are terms, again and again, and keeps the relation through them that
    most other rows share (RANSAC, Fischler and Bolles 1981); the draws are the same every time.

    Args:
      design: `[rows, terms]`.
      values: `[rows]`.
    """
    terms = design.shape[1]
    if len(values) < 4 * terms:
        return [NOTHING] * terms
    rng = np.random.Generator(np.random.PCG64(len(values)))
    best = np.zeros(len(values), bool)
    for _ in range(_DRAWS):
        rows = rng.choice(len(values), terms, replace=False)
        if np.linalg.cond(design[rows]) > _ILL_CONDITIONED:
            continue
        follows = np.abs(values - design @ np.linalg.solve(design[rows], values[rows])) < _SAME
        best = follows if follows.sum() > best.sum() else best
    if best.sum() < 4 * terms:
        return [NOTHING] * terms
    found = np.linalg.lstsq(design[best], values[best], rcond=None)[0]
    spread = float(np.ptp(np.percentile(values[best] - design[best] @ found, (5, 95))))
    return [Estimate(float(v), int(best.sum()), spread, float(best.mean())) for v in found]


_DRAWS, _ILL_CONDITIONED, _SAME = 400, 60, 5e-4


def _estimate(near: np.ndarray, asked: int) -> Estimate:
    spread = float(np.ptp(np.percentile(near, (5, 95))))
    return Estimate(float(np.median(near)), len(near), spread, len(near) / asked)

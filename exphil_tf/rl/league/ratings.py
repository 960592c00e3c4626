"""How strong everybody is, out of who beat whom: Bradley and Terry's model, with intervals.

The probability that i beats j is 1 / (1 + exp(θ_j - θ_i)) (Bradley and Terry 1952). Strengths are
the most probable ones given the games and a wide normal prior, which keeps finite who never lost;
their covariance is the inverse of the curvature there (Laplace). Shown are Elo points, 400 / ln 10
to a unit, of which the anchors' mean is `ANCHOR`: scripted players do not learn, so points of two
leagues with the same anchors mean the same.

Elo's own updates were dropped, as their result depends on the order of games; so does openskill's.
choix fits the same model, but knows neither draws nor the covariance of its maximum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ELO = 400.0 / math.log(10.0)
"""Points to a unit of log-odds."""
ANCHOR = 1000.0
"""Mean rating of the anchors."""
PRIOR_POINTS = 1000.0
"""Standard deviation of strengths before any game."""
_Z_95 = 1.959963984540054
_MOST_STEPS, _SMALL_STEP = 100, 1e-10


@dataclass(frozen=True)
class Rating:
    """How strong a player is."""

    points: float
    low: float
    """The 95 % interval of the distance to the anchors' mean."""
    high: float

    def is_below(self, other: Rating) -> bool:
        """Whether the intervals say so: they do not overlap."""
        return self.high < other.low


@dataclass(frozen=True)
class Strengths:
    """A fit."""

    names: tuple[str, ...]
    strength: np.ndarray
    """float64 `[names]`, log-odds."""
    covariance: np.ndarray
    """float64 `[names, names]`."""

    def expected(self, one: str, other: str) -> float:
        """Share of games that the one is expected to win; a half for who is unknown."""
        if one not in self.names or other not in self.names:
            return 0.5
        i, j = self.names.index(one), self.names.index(other)
        return float(_sigmoid(self.strength[i] - self.strength[j]))

    def ratings(self, anchors: Sequence[str] = ()) -> Mapping[str, Rating]:
        """Everybody's, above the mean of the anchors; of all, if none of these is among them."""
        is_anchor = np.array([name in anchors for name in self.names], float)
        if not is_anchor.any():
            is_anchor[:] = 1.0
        shift = np.eye(len(self.names)) - is_anchor / max(is_anchor.sum(), 1.0)
        points = ANCHOR + ELO * (shift @ self.strength)
        variance = np.diag(shift @ self.covariance @ shift.T)
        spread = _Z_95 * ELO * np.sqrt(np.maximum(variance, 0.0))
        rows = zip(self.names, points.tolist(), spread.tolist(), strict=True)
        return {name: Rating(at, at - by, at + by) for name, at, by in rows}


def fit(names: Sequence[str], wins: np.ndarray) -> Strengths:
    """Strengths out of games.

    Args:
      names: of the players.
      wins: float64 `[names, names]`, of the row's player over the column's; a draw is half a win of
        each.

    Raises: ValueError: if wins are of another shape, negative, or over oneself.
    """
    count = len(names)
    if wins.shape != (count, count) or (wins < 0).any() or np.diag(wins).any():
        raise ValueError(
            f"wins: want [{count}, {count}] of at least 0, 0 over oneself. Received: {wins.shape}"
        )
    strength = np.zeros(count)
    for _ in range(_MOST_STEPS):
        gradient, curvature = _slopes(wins, strength)
        step = np.linalg.solve(curvature, gradient)
        # Half of a step that leads down: the objective is concave, so this ends.
        here = _objective(wins, strength)
        while _objective(wins, strength + step) < here and np.abs(step).max() > _SMALL_STEP:
            step /= 2
        strength = strength + step
        if np.abs(step).max(initial=0.0) < _SMALL_STEP:
            break
    _, curvature = _slopes(wins, strength)
    return Strengths(tuple(names), strength, np.linalg.inv(curvature))


_PRECISION = (ELO / PRIOR_POINTS) ** 2


def _objective(wins: np.ndarray, strength: np.ndarray) -> float:
    """Log-probability, but for a constant."""
    gap = strength[:, None] - strength[None, :]
    return float(-(wins * np.logaddexp(0.0, -gap)).sum() - _PRECISION * (strength**2).sum() / 2)


def _slopes(wins: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient `[names]` of the objective, and its negative second derivative."""
    share = _sigmoid(strength[:, None] - strength[None, :])
    games = wins + wins.T
    gradient = (wins - games * share).sum(1) - _PRECISION * strength
    weight = games * share * (1 - share)
    curvature = np.diag(weight.sum(1) + _PRECISION) - weight
    return gradient, curvature


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))

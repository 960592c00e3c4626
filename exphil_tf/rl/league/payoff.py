"""Counted games of everybody against everybody: who played whom, how often, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """Games of one side against another."""

    games: int = 0
    wins: float = 0.0
    """A draw is half a win."""


class Payoff:
    """Scores by pair; of both sides, whichever counted them."""

    def __init__(self) -> None:
        self._scores: dict[tuple[str, str], Score] = {}

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, int, float]]) -> Payoff:
        """Of counts: one side, the other, games, wins of the one."""
        payoff = cls()
        for one, other, games, wins in rows:
            payoff.add(one, other, games=games, wins=wins)
        return payoff

    def add(self, one: str, other: str, *, games: int, wins: float) -> None:
        """Counts games.

        Raises: ValueError: if someone plays itself, or wins are more than games.
        """
        if one == other or not 0 <= wins <= games:
            raise ValueError(
                f"payoff: want two players and 0 to {games} wins. Received: {one}, {other}, {wins}"
            )
        for pair, won in (((one, other), wins), ((other, one), games - wins)):
            before = self._scores.get(pair, Score())
            self._scores[pair] = Score(before.games + games, before.wins + won)

    def score(self, one: str, other: str) -> Score:
        """Of the one against the other; no games if they have not met."""
        return self._scores.get((one, other), Score())

    def games_of(self, name: str) -> int:
        """Games of a player against everybody."""
        return sum(s.games for (one, _), s in self._scores.items() if one == name)

    def wins(self, names: Sequence[str]) -> np.ndarray:
        """float64 `[names, names]`: wins of the row's player over the column's."""
        found = [[self.score(one, other).wins for other in names] for one in names]
        return np.array(found, np.float64).reshape(len(names), len(names))

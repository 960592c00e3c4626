"""Which script a match meets in its next game, by the share x of games that is won against it.

Prioritized fictitious self-play (Vinyals et al. 2019) over scripted opponents: f_hard turns to
those who win, f_var to those of one's own level, which teach more while the strongest are out of
reach. Every script is drawn at least a little, so that what was learnt is not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from exphil_tf.rl import generator_state
from exphil_tf.rl.matches import Matches
from exphil_tf.rl.results import outcome
from exphil_tf.rl.seats import Seats

LEAST = 0.05
"""Priority of a script that never wins; by f_hard one that always does has 1."""
_HARD_POWER = 2.0
_MEMORY = 0.9
"""What a game counts when one more against that script has ended."""


def f_hard(win_rates: np.ndarray) -> np.ndarray:
    """As (1 - x)^p, which turns to those who cannot be beaten yet."""
    return (1.0 - win_rates) ** _HARD_POWER


def f_var(win_rates: np.ndarray) -> np.ndarray:
    """As x (1 - x)."""
    return win_rates * (1.0 - win_rates)


PRIORITIES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"hard": f_hard, "close": f_var}
"""By `--matchmaking`."""


class Matchmaking:
    """Draws scripts for matches whose game is over.

    Args:
      matches: what is played; its scripts are seated.
      seats: of the scripts, one of each match that has one.
      scripts: the name of each seat's script at first.
      priority: of `PRIORITIES`.
      seed: of the draws.
    """

    def __init__(
        self,
        matches: Matches,
        seats: Seats,
        scripts: Sequence[str],
        *,
        priority: Callable[[np.ndarray], np.ndarray],
        seed: int,
    ):
        self._priority = priority
        self._matches, self._seats = matches, seats
        self._names = tuple(dict.fromkeys(scripts))
        self._playing = np.array([self._names.index(name) for name in scripts])
        self._won = np.full(len(self._names), 0.5)
        self._rng = np.random.Generator(np.random.PCG64([seed, len(self._names)]))

    @property
    def won(self) -> dict[str, float]:
        """Share of games won against each script, the last ten or so."""
        return dict(zip(self._names, self._won.tolist(), strict=True))

    def next_games(self, is_over: np.ndarray) -> None:
        """Learns who won, and seats a script for the games to come.

        Args:
          is_over: bool `[matches]`, at their last frame.
        """
        rows = np.flatnonzero(is_over[self._seats.match])
        if not len(rows):
            return
        seats = Seats(self._seats.match[rows], 1 - self._seats.player[rows])
        columns = self._matches.columns()
        own = {n: seats.own_first(columns[n][None])[0] for n in ("p.stock", "p.percent")}
        for script, won in zip(self._playing[rows], outcome(own).won, strict=True):
            self._won[script] += (1 - _MEMORY) * (won - self._won[script])
        priority = np.maximum(self._priority(self._won), LEAST)
        drawn = self._rng.choice(len(self._names), len(rows), p=priority / priority.sum())
        self._playing[rows] = drawn
        self._seat(rows)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides whom it seats next, by name."""
        rng = generator_state.to_array(self._rng)
        return {"playing": self._playing, "won": self._won, "rng": rng}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        self._playing[:], self._won[:] = state["playing"], state["won"]
        generator_state.restore(self._rng, state["rng"])
        self._seat(np.arange(len(self._playing)))

    def _seat(self, rows: np.ndarray) -> None:
        for script in np.unique(self._playing[rows]):
            some = rows[self._playing[rows] == script]
            seats = Seats(self._seats.match[some], self._seats.player[some])
            self._matches.seat_script(self._names[script], seats)

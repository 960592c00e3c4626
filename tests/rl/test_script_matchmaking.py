"""`exphil_tf.rl.script_matchmaking`: who wins more often is met more often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from exphil_tf.rl.script_matchmaking import PRIORITIES, Matchmaking
from exphil_tf.rl.seats import Seats

MATCHES = 40


class Games:
    """Matches whose learner, on changing sides, wins against scripts as a function says."""

    def __init__(self, wins: Callable[[str], bool]):
        self.scripts = ["easy" if match % 2 else "tough" for match in range(MATCHES)]
        self.side = np.arange(MATCHES) // 2 % 2  # the script's
        self._wins = wins

    def columns(self):
        """A stock left for whoever won."""
        is_won = np.array([self._wins(name) for name in self.scripts])
        winner = np.where(is_won, 1 - self.side, self.side)
        stock = (winner[:, None] == [0, 1]).astype(np.float32)
        return {"p.stock": stock, "p.percent": np.zeros((MATCHES, 2), np.float32)}

    def seat_script(self, name, seats):
        """Remembers who sits where."""
        np.testing.assert_array_equal(seats.player, self.side[seats.match])
        for match in seats.match:
            self.scripts[match] = name


def of(games, seed=1, by="hard"):
    seats = Seats(np.arange(MATCHES), games.side)
    return Matchmaking(games, seats, list(games.scripts), priority=PRIORITIES[by], seed=seed)


def test_scripts_are_drawn_by_the_square_of_what_they_win():
    games = Games(lambda name: name == "easy")
    pairing = of(games)
    everything = np.ones(MATCHES, bool)
    met = Counter()
    for _ in range(60):
        pairing.next_games(everything)
        met.update(games.scripts)
    assert pairing.won["easy"] == pytest.approx(1, abs=0.01)
    assert pairing.won["tough"] == pytest.approx(0, abs=0.01)
    # Priorities 0.05 and 1: easy gets 1 in 21, but for the first games.
    assert met["easy"] / met.total() == pytest.approx(1 / 21, abs=0.02)


def test_close_draws_those_that_win_about_as_often_as_they_lose():
    rng = np.random.default_rng(0)
    games = Games(lambda name: name == "easy" or rng.random() < 0.5)
    pairing = of(games, by="close")
    met = Counter()
    for _ in range(100):
        pairing.next_games(np.ones(MATCHES, bool))
        met.update(games.scripts)
    # x = 1 has the least, 0.05; x about 0.5 has 0.25, less 0.013 as the last ten games vary.
    assert met["easy"] / met.total() == pytest.approx(0.05 / 0.287, abs=0.03)


def test_matches_that_go_on_keep_their_script():
    games = Games(lambda name: True)
    pairing = of(games)
    before = list(games.scripts)
    over = np.zeros(MATCHES, bool)
    pairing.next_games(over)
    assert games.scripts == before
    assert pairing.won == {"tough": 0.5, "easy": 0.5}
    over[3] = True
    pairing.next_games(over)
    assert [one for m, one in enumerate(games.scripts) if m != 3] == before[:3] + before[4:]
    assert pairing.won == {"tough": 0.5, "easy": pytest.approx(0.55)}


def test_it_goes_on_from_its_state_as_if_nothing_had_been():
    everything = np.ones(MATCHES, bool)
    games, again = Games(lambda name: name == "easy"), Games(lambda name: name == "easy")
    pairing, other = of(games), of(again, seed=2)
    for _ in range(3):
        pairing.next_games(everything)
    state = {name: value.copy() for name, value in pairing.state().items()}
    other.restore(state)
    assert again.scripts == games.scripts
    for one in (pairing, other):
        one.next_games(everything)
    assert again.scripts == games.scripts
    assert other.won == pairing.won

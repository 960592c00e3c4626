"""Who won: by stocks, by time, and where nobody can say."""

import dataclasses

import pytest
from replay_games import make_game

from exphil_tf.melee.types import Frames, Game
from exphil_tf.replays.outcome import NOBODY, winner

GAME, TIME, NO_CONTEST = 2, 1, 7


def ended(stocks: tuple, percent: tuple, method: int | None) -> Game:
    """A game that was in another state up to its last frame."""
    game = make_game(1, length=5)
    columns = dict(game.frames.columns)
    for name, values in (("p.stock", stocks), ("p.percent", percent)):
        columns[name] = columns[name].copy()
        columns[name][:-1], columns[name][-1] = (1, 4), values
    return Game(dataclasses.replace(game.info, end_method=method), Frames(columns))


@pytest.mark.parametrize(
    ("stocks", "percent", "method", "want"),
    [
        ((0, 3), (0, 90), GAME, 1),
        ((1, 0), (150, 0), GAME, 0),
        ((1, 0), (150, 0), None, 0),  # the file breaks off behind the last stock
        ((0, 0), (0, 0), GAME, NOBODY),
        ((2, 1), (150, 0), TIME, 0),
        ((1, 1), (50.2, 80), TIME, 0),
        ((1, 1), (80, 50), TIME, 1),
        ((1, 1), (80.2, 80.9), TIME, NOBODY),  # sudden death; the game compares whole percent
        ((4, 1), (0, 120), NO_CONTEST, NOBODY),
        ((4, 1), (0, 120), None, NOBODY),
    ],
)
def test_winner(stocks, percent, method, want):
    assert winner(ended(stocks, percent, method)) == want

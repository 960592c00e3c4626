"""Who won a game: what a win probability is held against.

A game has a winner if it was played to its end: a player's last stock is lost, or time ran out with
a lead in stocks, or in percent where stocks are equal. Whoever quits early does not say who would
have won, nor does a file that breaks off.
"""

import numpy as np

from exphil_tf.melee.types import Game

NOBODY = 2
"""Instead of a player's index: the game has no winner that is known."""
_TIME = 1
"""Game End method."""


def winner(game: Game) -> int:
    """Index of the player who won, in port order; `NOBODY` if it is not known."""
    stocks, percent = game.frames["p.stock"][-1], game.frames["p.percent"][-1]
    is_out = stocks == 0
    if is_out.any():
        return NOBODY if is_out.all() else int(np.argmin(is_out))
    if game.info.end_method != _TIME:
        return NOBODY
    if stocks[0] != stocks[1]:
        return int(np.argmax(stocks))
    # The game compares whole percent.
    first, second = (int(value) for value in percent)
    return NOBODY if first == second else int(first > second)

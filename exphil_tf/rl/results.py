"""How games ended, as one side saw them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from exphil_tf.rewards.shaped import ahead
from exphil_tf.rewards.terms import OPPONENT, OWN


class Ended(NamedTuple):
    """Games that ended."""

    won: np.ndarray
    """float32 `[games]`: 1, 0, or 0.5 for a draw."""
    stocks: np.ndarray
    """float32 `[games]`: own stocks left minus the opponent's."""


def outcome(columns: Mapping[str, np.ndarray]) -> Ended:
    """Who won, by stocks, then by percent: the game's own rule.

    Args:
      columns: `p.stock` and `p.percent` `[games, own/opponent]` of a game's last frame.
    """
    stock = columns["p.stock"].astype(np.float32)
    lead = stock[:, OWN] - stock[:, OPPONENT]
    return Ended((ahead(columns) + 1) / 2, lead)

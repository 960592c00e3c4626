"""What one side of some games did: sums, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from exphil_tf.agents.game_record import wilson


@dataclass
class Tally:
    """What one side did."""

    games: int = 0
    wins: float = 0.0
    """A draw is half a win."""
    timeouts: int = 0
    frames: int = 0
    stocks_lost: int = 0
    self_destructs: int = 0
    """Stocks lost without a hit since the ground or ledge was left."""
    stocks_taken: int = 0
    damage_dealt: float = 0.0
    damage_taken: float = 0.0
    on_ledge: int = 0
    """Frames of hanging there."""
    approaching: int = 0
    """Frames of moving towards the opponent; see `behaviour`."""
    openings: int = 0
    """First hits of a string of hits dealt."""
    conversions: int = 0
    """Strings of two hits or more, or that took a stock."""
    hits: int = 0
    leads: list[float] = field(default_factory=list)
    """Own stocks left minus the opponent's, by game."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with what follows from them."""
        low, high = wilson(self.wins, self.games)
        minutes = max(self.frames, 1) / 3600
        return {
            "games": self.games,
            "wins": self.wins,
            "win_rate": self.wins / max(self.games, 1),
            "win_rate_95": [low, high],
            "timeouts": self.timeouts,
            "frames_per_game": self.frames / max(self.games, 1),
            "stock_lead": float(np.mean(self.leads)) if self.leads else 0.0,
            "self_destructs_per_game": self.self_destructs / max(self.games, 1),
            "damage_dealt_per_minute": self.damage_dealt / minutes,
            "damage_taken_per_minute": self.damage_taken / minutes,
            "share_on_ledge": self.on_ledge / max(self.frames, 1),
            "approach_rate": self.approaching / max(self.frames, 1),
            "conversion_rate": self.conversions / max(self.openings, 1),
            "hits_per_opening": self.hits / max(self.openings, 1),
            "damage_per_opening": self.damage_dealt / max(self.openings, 1),
        }

    def sums(self) -> dict[str, float]:
        """What adds up over tallies, by field."""
        names = (one.name for one in fields(self) if one.name != "leads")
        return {name: float(getattr(self, name)) for name in names}

    @classmethod
    def of_sums(cls, sums: Iterable[Mapping[str, float]]) -> Tally:
        """The total of several `sums`, without leads."""
        total = cls()
        for one in sums:
            for name, value in one.items():
                before = getattr(total, name)
                setattr(total, name, type(before)(before + value))
        return total

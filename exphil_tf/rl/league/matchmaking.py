"""Who plays whom: prioritized fictitious self-play, by a player's role.

After AlphaStar (Vinyals et al. 2019, Nature 575, Methods "Multi-agent learning" and the pseudocode
of its supplement). An opponent B is drawn with a probability proportional to f(P(A beats B)):
f_hard(x) = (1 - x)^p turns to those who cannot be beaten yet, f_var(x) = x (1 - x) to those of
one's own level. Thresholds and shares are the paper's. Scripted players belong to the past that is
drawn from, as policies that learn against each other alone forget how to beat the simplest.

What differs: opponents are drawn once for a turn and not before each game, and of the coins that
choose a rule, each turn has its exact share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exphil_tf.rl.script_matchmaking import f_hard, f_var
from exphil_tf.training.ppo_config import SELF

Role = Literal["main", "main_exploiter", "league_exploiter"]
ROLES: tuple[Role, ...] = ("main", "main_exploiter", "league_exploiter")
_PAST, _CHECK = 0.5, 0.65
"""Main agents: half of the matches against the past, 15 % against what may have been forgotten,
the rest against main agents as they are."""
_FORGOTTEN, _EXPLOITED, _NO_MATCH, _HOPELESS = 0.7, 0.3, 0.3, 0.1
WinRate = Callable[[str], float]
"""Of the player who is to be matched, against a name."""


@dataclass(frozen=True)
class Rival:
    """Somebody who can be played against."""

    name: str
    player: str
    """Whose snapshot it is; a script's own name."""
    role: str
    is_newest: bool = False
    """Whether its player has no later one."""


def f_capped(win_rates: np.ndarray) -> np.ndarray:
    """As min(1/2, 1 - x), a league exploiter's."""
    return np.minimum(0.5, 1.0 - win_rates)


def probabilities(
    win_rates: Sequence[float], weighting: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """float64 `[opponents]`, sum 1; all alike if nobody has any weight."""
    weights = weighting(np.asarray(win_rates, np.float64))
    total = weights.sum()
    if total < 1e-10:
        return np.full(len(weights), 1.0 / len(weights))
    return weights / total


def draw_opponents(
    player: str,
    role: Role,
    *,
    rivals: Sequence[Rival],
    win_rate: WinRate,
    count: int,
    rng: np.random.Generator,
) -> tuple[str, ...]:
    """Opponents of a turn, `SELF` for the player as it is.

    Args:
      player: who is to learn.
      role: its.
      rivals: everybody, `player`'s own snapshots and scripts too; at least one snapshot of a main
        agent unless a main agent asks.
      win_rate: of the player.
      count: how many; the same one may be drawn several times.
      rng: its draws are taken.
    """
    draw = _Draw(player, rivals, win_rate, rng)
    coins = (np.arange(count) + rng.random()) / count
    rule = {
        "main": draw.of_main,
        "main_exploiter": lambda _: draw.of_main_exploiter(),
        "league_exploiter": lambda _: draw.from_past(rivals, f_capped),
    }[role]
    return tuple(rule(float(coin)) for coin in coins)


@dataclass(frozen=True)
class _Draw:
    player: str
    rivals: Sequence[Rival]
    win_rate: WinRate
    rng: np.random.Generator

    def from_past(
        self, among: Sequence[Rival], weighting: Callable[[np.ndarray], np.ndarray]
    ) -> str:
        """One of some; the player itself if there is none."""
        if not among:
            return SELF
        odds = probabilities([self.win_rate(rival.name) for rival in among], weighting)
        return among[int(self.rng.choice(len(among), p=odds))].name

    def of_main(self, coin: float) -> str:
        """By where a coin within 0 to 1 falls."""
        if coin < _PAST:
            return self.from_past(self.rivals, f_hard)
        mains = sorted({r.player for r in self.rivals if r.role == "main"} | {self.player})
        opponent = mains[int(self.rng.integers(len(mains)))]
        if coin < _CHECK:
            return self._forgotten(opponent) or self._as_it_is(opponent)
        return self._as_it_is(opponent)

    def of_main_exploiter(self) -> str:
        """A main agent as it is, or its past while that one is out of reach."""
        newest = [r for r in self.rivals if r.role == "main" and r.is_newest]
        chosen = newest[int(self.rng.integers(len(newest)))]
        if self.win_rate(chosen.name) > _HOPELESS:
            return chosen.name
        return self.from_past(self._past_of(chosen.player), f_var)

    def _forgotten(self, opponent: str) -> str | None:
        """Who beats the player though it has met them: exploiters, then a main agent's past."""
        exploiters = [r for r in self.rivals if r.role == "main_exploiter"]
        for among, least in ((exploiters, _EXPLOITED), (self._past_of(opponent), _FORGOTTEN)):
            if among and min(self.win_rate(r.name) for r in among) < least:
                return self.from_past(among, f_hard)
        return None

    def _as_it_is(self, opponent: str) -> str:
        """A main agent now; its past while that one is out of reach."""
        if opponent == self.player:
            return SELF
        newest = next(r for r in self._past_of(opponent) if r.is_newest)
        if self.win_rate(newest.name) > _NO_MATCH:
            return newest.name
        return self.from_past(self._past_of(opponent), f_var)

    def _past_of(self, player: str) -> list[Rival]:
        return [rival for rival in self.rivals if rival.player == player]

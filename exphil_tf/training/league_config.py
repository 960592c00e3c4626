"""Options of a league; free of TensorFlow, like all it is composed of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.training.ppo_config import SELF, PlayedRunConfig, PlayingConfig

CONTEST_GAMES = 16
"""Of each pair, by default."""


@dataclass(frozen=True)
class LeagueOptions:
    """Who is in a league, whom they meet, and how often."""

    KIND: ClassVar = Kind.TRAINING

    generations: int = option(3, kind=Kind.LENGTH)
    """Turns of each player; --timesteps is the length of a turn, --contest-games what is counted
    of each pair behind it."""
    main_agents: int = 1
    """Players that are to become strong against everybody."""
    main_exploiters: int = 1
    """Players that look for weaknesses of the main agents, each time from the start."""
    league_exploiters: int = 1
    """Players that look for weaknesses of everybody."""
    matchups: int = 8
    """Opponents drawn for a turn, some of them alike; matches are shared out among them, at least
    two each."""
    exploiter_turns: int = 2
    """Turns after which an exploiter that does not win yet joins the past and begins anew too."""
    anchors: tuple[str, ...] = ()
    """Names of the scripts that ratings are measured from, and that are played against; none means
    all that the game has."""
    rated_pairs: int = 4
    """Further opponents of each new snapshot's counted games, those with the fewest games."""
    exploit_timesteps: int | None = option(None, kind=Kind.LENGTH)
    """Frames that a fresh exploiter learns from against the last main agent, to tell how
    exploitable that is; none means as many as in a turn, 0 leaves it out."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        lows = {"main_agents": 1, "generations": 1, "matchups": 1, "exploiter_turns": 1}
        lows |= dict.fromkeys(("main_exploiters", "league_exploiters", "rated_pairs"), 0)
        if self.exploit_timesteps is not None:
            lows["exploit_timesteps"] = 0
        for name, low in lows.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")


def _run() -> PlayedRunConfig:
    return PlayedRunConfig(log_interval=1, contest_games=CONTEST_GAMES)


@dataclass(frozen=True)
class LeagueConfig(PlayingConfig):
    """Policies that learn against each other's past; their games are counted and rated."""

    league: LeagueOptions = field(default_factory=LeagueOptions)
    run: PlayedRunConfig = field(default_factory=_run)

    @property
    def opponents(self) -> tuple[str, ...]:
        """Nobody from outside: a league draws them."""
        return (SELF,)

"""Who is how strong in a league, as rows and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from exphil_tf.agents.game_record import wilson
from exphil_tf.rl.league.league import exploitability
from exphil_tf.rl.league.ratings import Rating
from exphil_tf.rl.league.state import START, State


@dataclass(frozen=True)
class Standing:
    """A row."""

    name: str
    role: str
    frames: int
    """Learnt from."""
    rating: Rating
    games: int
    wins: float


def standings(state: State) -> list[Standing]:
    """Everybody, the strongest first."""
    payoff, rated = state.payoff(), state.ratings()
    known = {snapshot.name: snapshot for snapshot in state.snapshots}
    rows = []
    for name in state.names:
        snapshot = known.get(name)
        role, frames = (snapshot.role, snapshot.frames) if snapshot else ("script", 0)
        wins = sum(payoff.score(name, other).wins for other in state.names)
        rows.append(Standing(name, role, frames, rated[name], payoff.games_of(name), float(wins)))
    return sorted(rows, key=lambda row: (-row.rating.points, row.name))


def to_json(state: State) -> dict[str, Any]:
    """Plain values: standings, how exploitable, whether the main agent became stronger."""
    return {
        "standings": [asdict(row) for row in standings(state)],
        "exploitability": [asdict(row) for row in exploitability(state)],
        "is_stronger_than_start": is_stronger(state),
    }


def is_stronger(state: State) -> bool | None:
    """Whether intervals of the start and the newest main agent do not overlap; None without one."""
    mains = [snapshot for snapshot in state.snapshots if snapshot.role == "main"]
    if not mains:
        return None
    rated = state.ratings()
    return rated[START].is_below(rated[mains[-1].name])


def print_standings(state: State, console: Console) -> None:
    """Prints them."""
    table = Table("", "rating", "95 %", "games", "won", "frames", "role")
    for row in standings(state):
        at = row.rating
        share = f"{row.wins / row.games:.0%}" if row.games else ""
        span = f"{at.low:.0f} to {at.high:.0f}"
        games, frames = f"{row.games:,}", f"{row.frames:,}"
        table.add_row(row.name, f"{at.points:.0f}", span, games, share, frames, row.role)
    console.print(table)
    for found in exploitability(state):
        low, high = wilson(found.wins, found.games)
        console.print(
            f"a fresh exploiter of {found.frames:,} frames wins {found.wins:g} of {found.games} "
            f"games against {found.target} (95 % interval {low:.0%} to {high:.0%})",
            soft_wrap=True,
        )

"""A league as one HTML page: ratings, who beats whom, what was learnt, how they play.

The page needs nothing from outside itself but the games that it links to, which lie beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exphil_tf.agents.game_record import wilson
from exphil_tf.evaluation.figures import GRID, HUMAN, MUTED, OTHER, POLICY, STYLE, svg_text
from exphil_tf.evaluation.report import template
from exphil_tf.rl.league.league import FRESH, Exploited, exploitability
from exphil_tf.rl.league.shown_games import shown_games
from exphil_tf.rl.league.standings import is_stronger, standings
from exphil_tf.rl.league.state import START, State
from exphil_tf.rl.tally import Tally
from exphil_tf.training import run_folder

_COLOURS = {"main": POLICY, "main_exploiter": HUMAN, "league_exploiter": OTHER}
LEARNT = {
    "reward": "Reward a minute",
    "kl_teacher": "KL to the start, nats a frame",
    "actor_kl": "KL of an update",
    "entropy": "Entropy, nats a frame",
}
"""Metrics of `rl.ppo_learner` that are drawn, with their titles."""
BEHAVIOUR = {
    "approach_rate": "approaches",
    "conversion_rate": "openings converted",
    "hits_per_opening": "hits an opening",
    "damage_per_opening": "% an opening",
    "damage_dealt_per_minute": "% dealt a minute",
    "damage_taken_per_minute": "% taken a minute",
    "self_destructs_per_game": "self-destructs a game",
    "share_on_ledge": "on the ledge",
    "frames_per_game": "frames a game",
}
"""Figures of `Tally.to_dict`, with their titles."""
_SHARES = ("approach_rate", "conversion_rate", "share_on_ledge")


@dataclass(frozen=True)
class Cell:
    """What a pair's games came to."""

    share: float
    games: int


@dataclass(frozen=True)
class Point:
    """A line of a turn's log."""

    frames: float
    """Learnt from since the start."""
    values: Mapping[str, float]
    terms: Mapping[str, float]
    """Rewards a minute, by term."""


def page(state: State, folder: Path) -> str:
    """The HTML page.

    Args:
      state: of the league.
      folder: its, where logs of turns and games to look at lie.
    """
    rows = standings(state)
    names = [row.name for row in rows]
    learnt = {player: list(_points(state, folder, player)) for player in _players(state)}
    return template("league.html.j2", folder=Path(__file__).parent).render(
        title=folder.resolve().name,
        state=state,
        rows=rows,
        names=names,
        matrix=matrix(state, names),
        exploited=[_told(found) for found in exploitability(state)],
        stronger=is_stronger(state),
        games=sum(count.games for count in state.counts),
        behaviour=behaviour(state),
        behaviour_titles=BEHAVIOUR,
        shares=_SHARES,
        reverted=reverted(state, folder),
        shown=shown_games(folder),
        figures={
            "ratings": rating_curves(state),
            "learnt": learning_curves(learnt),
            "terms": term_curves(learnt.get(_first_main(state), [])),
        },
    )


def matrix(state: State, names: Sequence[str]) -> list[list[Cell | None]]:
    """Share of wins of the row's player over the column's; None where they have not met."""
    payoff = state.payoff()
    scores = [[payoff.score(one, other) for other in names] for one in names]
    return [[Cell(s.wins / s.games, s.games) if s.games else None for s in row] for row in scores]


def behaviour(state: State) -> dict[str, dict[str, float]]:
    """How each snapshot played in the games that were counted for it, by figure."""
    did: dict[str, list[Mapping[str, float]]] = {}
    for count in state.counts:
        did.setdefault(count.one, []).append(count.did)
    snapshots = [s.name for s in state.snapshots if s.name in did]
    return {name: Tally.of_sums(did[name]).to_dict() for name in snapshots}


def reverted(state: State, folder: Path) -> dict[str, int]:
    """Updates that the bound on the KL took back, by turn."""
    found = {}
    for snapshot in state.snapshots:
        lines = _log(folder / run_folder.TURNS / snapshot.name / run_folder.LOG)
        if lines:
            found[snapshot.name] = int(lines[-1].get("reverted", 0))
    return found


# -- Figures ---------------------------------------------------------------------------------------


def rating_curves(state: State) -> str:
    """Ratings by frames learnt from, with intervals; scripts are lines."""
    rated = state.ratings()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        axes = figure.subplots()
        for name in state.anchors:
            axes.axhline(rated[name].points, color=GRID, linewidth=1, zorder=1)
            label = name.partition(":")[2]
            axes.annotate(label, (1, rated[name].points), xycoords=("axes fraction", "data"),
                          color=MUTED, fontsize=7, va="center")  # fmt: skip
        for player in _players(state):
            snapshots = [s for s in state.snapshots if s.player == player]
            role = snapshots[0].role
            line = [state.snapshot(START)] * (role == "main") + snapshots
            _rated_line(axes, [(s.frames, rated[s.name]) for s in line], label=player, role=role)
        axes.set(xlabel="frames learnt from, since the start", ylabel="rating")
        axes.legend(loc="upper left", fontsize=8)
        return svg_text(figure, "ratings", "Ratings by frames learnt from, with 95 % intervals")


def _rated_line(axes: Axes, points: Sequence[Any], *, label: str, role: str) -> None:
    x = [frames for frames, _ in points]
    y = [rating.points for _, rating in points]
    errors = [
        [rating.points - rating.low for _, rating in points],
        [rating.high - rating.points for _, rating in points],
    ]
    axes.errorbar(
        x,
        y,
        yerr=errors,
        label=label,
        color=_COLOURS.get(role, MUTED),
        marker="o",
        markersize=4,
        linewidth=1.5 if role == "main" else 0,
        elinewidth=1,
        capsize=2,
    )


def learning_curves(learnt: Mapping[str, Sequence[Point]]) -> str:
    """Reward, distances and entropy of each player, by frames; "" without logs."""
    if not any(learnt.values()):
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.0), layout="constrained")
        for axes, (metric, title) in zip(figure.subplots(2, 2).flat, LEARNT.items(), strict=True):
            for player, points in learnt.items():
                known = [(p.frames, p.values[metric]) for p in points if metric in p.values]
                if known:
                    style = {"color": _colour(player), "linewidth": 1.2}
                    axes.plot(*zip(*known, strict=True), label=player, **style)
            axes.set_title(title)
            axes.tick_params(labelsize=7)
        figure.axes[0].legend(fontsize=7)
        return svg_text(figure, "learnt", "Reward, KL and entropy of each player by frames")


def term_curves(points: Sequence[Point]) -> str:
    """Each reward term's share of the main agent's reward, by frames; "" without a log."""
    names = sorted({name for point in points for name in point.terms})
    if not names:
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.9 * -(-len(names) // 3)), layout="constrained")
        grid = figure.subplots(-(-len(names) // 3), 3, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            known = [(p.frames, p.terms[name]) for p in points if name in p.terms]
            axes.axhline(0, color=GRID, linewidth=1)
            axes.plot(*zip(*known, strict=True), color=POLICY, linewidth=1.2)
            axes.set_title(name.replace("_", " "))
            axes.tick_params(labelsize=7)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        return svg_text(figure, "terms", "Rewards a minute by term, of the main agent")


def _colour(player: str) -> str:
    role = player.rstrip("0123456789").replace("-", "_")
    return _COLOURS.get(role, MUTED)


# -- Logs ------------------------------------------------------------------------------------------


def _points(state: State, folder: Path, player: str) -> Iterator[Point]:
    """Of a player's turns, in order; their frames go on from where the turn began.

    A gap stands where a player began anew, so that no line is drawn across.
    """
    turns = [s for s in state.snapshots if s.player == player and s.parent]
    for place, snapshot in enumerate(turns):
        if place and snapshot.parent != turns[place - 1].name:
            yield Point(math.nan, dict.fromkeys(LEARNT, math.nan), {})
        lines = _log(folder / run_folder.TURNS / snapshot.name / run_folder.LOG)
        first = state.snapshot(snapshot.parent).frames
        last = max((line["step"] for line in lines), default=1)
        for line in lines:
            frames = first + (snapshot.frames - first) * line["step"] / last
            values = {n: float(line[n]) for n in LEARNT if isinstance(line.get(n), int | float)}
            yield Point(frames, values, line.get("reward_terms", {}))


def _log(path: Path) -> list[dict[str, Any]]:
    """Lines of updates; of a step that was repeated the last one, none that was cut off."""
    found: dict[int, dict[str, Any]] = {}
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and line.get("event") == "train":
                found[int(line["step"])] = line
    return [found[step] for step in sorted(found)]


def _players(state: State) -> list[str]:
    return list(dict.fromkeys(s.player for s in state.snapshots if s.role not in (START, FRESH)))


def _first_main(state: State) -> str:
    return next((s.player for s in state.snapshots if s.role == "main"), "")


def _told(found: Exploited) -> dict[str, Any]:
    low, high = wilson(found.wins, found.games)
    share = found.wins / max(found.games, 1)
    return {"of": found, "share": share, "low": low, "high": high}

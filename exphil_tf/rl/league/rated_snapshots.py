"""Ratings of a self-play run's snapshots: some of them against each other and all scripts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console

from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.rl.league.league import League
from exphil_tf.rl.league.league_run import LeagueWork, anchors, of_playing
from exphil_tf.rl.league.standings import print_standings
from exphil_tf.rl.league.state import Snapshot, State
from exphil_tf.training import run_folder
from exphil_tf.training.ppo_config import SelfPlayConfig

MOST = 4
"""Snapshots that are rated."""
_GAMES = 8
"""Of a pair, unless --contest-games says more or less."""


def rate_snapshots(config: SelfPlayConfig, run_dir: Path, console: Console) -> State:
    """Plays and rates; `ratings.json` of the run is in the form of a league's state.

    Args:
      config: of the run, with a seed.
      run_dir: its folder.
      console: takes the table.
    """
    games = config.run.contest_games or _GAMES
    counted = dataclasses.replace(config, run=dataclasses.replace(config.run, contest_games=games))
    folder = run_dir / run_folder.SNAPSHOTS
    names = chosen(sorted(path.name for path in folder.glob("step-*") if path.is_dir()))
    scripts = anchors(config)
    snapshots = [_snapshot(folder, names, place, scripts=scripts) for place in range(len(names))]
    state = State(config.seed, scripts, snapshots)
    table = of_playing(counted)
    league = League(state, table.league, slots=1, save=lambda _: None)
    work = LeagueWork(table, run_dir, console=console, environ={}, start=names[0])
    league.count_pending(work)
    atomic.write_json(run_dir / run_folder.RATINGS, dataclasses.asdict(state))
    print_standings(state, console)
    return state


def chosen(names: list[str]) -> list[str]:
    """The first, the last, and some evenly between."""
    places = np.linspace(0, len(names) - 1, min(len(names), MOST)).round().astype(int)
    return [names[place] for place in dict.fromkeys(places.tolist())]


def _snapshot(folder: Path, names: list[str], place: int, *, scripts: tuple[str, ...]) -> Snapshot:
    name = names[place]
    return Snapshot(
        name,
        "main1",
        "main",
        generation=place,
        parent=names[place - 1] if place else "",
        frames=0,
        turns=place,
        opponents=(),
        pairs=(*scripts, *names[:place]),
        weights_sha256=atomic.sha256(folder / name / WEIGHTS),
        joins=True,
    )

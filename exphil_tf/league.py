"""A league: policies learn against each other's past, are rated, and looked for weaknesses.

    python -m exphil_tf.league run --pretrained RUN --name NAME --preset two_exploiters
    python -m exphil_tf.league standings runs/NAME
    python -m exphil_tf.league report runs/NAME [--games 1]

A league that was stopped goes on: `league run --resume runs/NAME`. See docs/rl.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import LEAGUE_PRESETS, from_dict, load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.forms import take_form
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.process.console import make_console, wide_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.training import run_folder
from exphil_tf.training.league_config import LeagueConfig
from exphil_tf.training.run_files import LEAGUE_PAGE
from exphil_tf.training.run_options import read_playing_run

PROG = "python -m exphil_tf.league"
HELP_FORMS = ("run", "standings", "report")
"""First words of the forms that have a `--help` of their own."""


@dataclass(frozen=True)
class StandingsConfig:
    """Tells how strong everybody in a league is."""

    KIND: ClassVar = Kind.RESULT

    league: Annotated[Path, tyro.conf.Positional]
    """Folder of a league."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class ReportConfig:
    """Writes a league as one HTML page."""

    KIND: ClassVar = Kind.RESULT

    league: Annotated[Path, tyro.conf.Positional]
    """Folder of a league."""
    output: Path | None = option(None, kind=Kind.PLACE)
    """Page to write; none means report.html in the league's folder, from where its links to games
    lead."""
    games: int = 0
    """Games to play in the simulator and link to, of the main agent against the start, the newest
    exploiters and the strongest script each; those played before stay."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if self.games < 0:
            raise ValueError(f"games: want at least 0. Received: {self.games}")


def main(argv: Sequence[str]) -> int:
    """Does what the first word says."""
    taken = take_form(argv, HELP_FORMS, prog=PROG, text=(__doc__ or "") + "\n")
    if taken is None:
        return 0
    form, rest = taken
    prog = f"{PROG} {form}"
    if form == "run":
        return _run(rest, prog)
    if form == "standings":
        _standings(load(StandingsConfig, rest, prog=prog))
    else:
        _report(load(ReportConfig, rest, prog=prog))
    return 0


def _run(argv: Sequence[str], prog: str) -> int:
    from exphil_tf.rl.league.league_run import run_league

    loaded, location = read_playing_run(LeagueConfig, argv, prog=prog, presets=LEAGUE_PRESETS)
    return run_league(loaded.config, location, prog=prog, argv=argv)


def _standings(config: StandingsConfig) -> None:
    from exphil_tf.rl.league import standings, state

    found = state.load(config.league)
    if config.json:
        sys.stdout.write(json.dumps(standings.to_json(found), indent=1) + "\n")
    else:
        standings.print_standings(found, wide_console())


def _report(config: ReportConfig) -> None:
    from exphil_tf.rl.league import league_report, state

    found, console = state.load(config.league), make_console()
    if config.games:
        _play(config, found, console.print)
    page = league_report.page(found, config.league).encode()
    output = config.output or config.league / LEAGUE_PAGE
    atomic.write_bytes(output, page)
    console.print(f"wrote {output} ({len(page) / 1e6:.2f} MB)")


def _play(config: ReportConfig, state: Any, say: Any) -> None:
    """Games of the main agent to link to."""
    from exphil_tf.rl.league.shown_games import play_games, worth_a_look

    facts = run_folder.read_json(config.league / run_folder.CONFIG_JSON)
    if "config" not in facts:
        raise UserError(
            f"{config.league}: has no {run_folder.CONFIG_JSON}, so nobody knows what it played",
            "Leave --games out.",
            exit_code=EXIT_NO_INPUT,
        )
    options = from_dict(LeagueConfig, facts["config"], origin=run_folder.CONFIG_JSON)
    if options.game.game_type != "sim":
        raise UserError("--games: want a league of the simulator", "Leave --games out.")
    one, others = worth_a_look(state)
    play_games(
        config.league,
        options.game,
        one=one,
        others=others,
        games=config.games,
        seed=state.seed,
        say=say,
    )


if __name__ == "__main__":
    run(main, sys.argv[1:])

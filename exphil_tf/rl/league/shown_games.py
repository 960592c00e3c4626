"""Games of a league to look at: replays, and a page of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exphil_tf.agents.agent import Agent, AgentOptions
from exphil_tf.agents.game_page import game_page
from exphil_tf.agents.game_record import GameRecord, Report
from exphil_tf.agents.named_agents import make_agent
from exphil_tf.agents.policy_source import open_policy
from exphil_tf.agents.sim_play import SimGames, SimMatch, rows
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import character_from_name, stage_from_name
from exphil_tf.replays.parse import parse
from exphil_tf.rl.league.state import State
from exphil_tf.training import run_folder
from exphil_tf.training.ppo_config import SCRIPT, GameConfig
from exphil_tf.training.run_files import SHOWN_GAMES


@dataclass(frozen=True)
class ShownGame:
    """A game, by addresses relative to the league's folder."""

    one: str
    other: str
    replay: str
    page: str
    outcome: str


def play_games(
    folder: Path,
    game: GameConfig,
    *,
    one: str,
    others: list[str],
    games: int,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Plays games of one snapshot against others, writes replays and pages.

    Args:
      folder: of the league.
      game: characters, stage and delay; the game is the simulator.
      one: a snapshot's name.
      others: of snapshots and scripts.
      games: against each.
      seed: of all that is drawn.
      say: takes a line for each game.
    """
    for other in others:
        place = folder / SHOWN_GAMES / f"{one}-against-{other.removeprefix(SCRIPT)}"
        script = other.removeprefix(SCRIPT) if other.startswith(SCRIPT) else ""
        own = character_from_name(game.character)
        match = SimMatch(
            one,
            other,
            script,
            (own, character_from_name(game.opponent_character or game.character)),
            stage_from_name(game.stage),
            games,
            mirrors_ports=True,
            seed=seed,
            replay_dir=place,
        )
        ours = _agent(folder, one, game, games=games, seed=seed)
        theirs = None if script else _agent(folder, other, game, games=games, seed=seed + 1)
        report = Report(None)
        SimGames(match, (ours, theirs), report=report, say=lambda record: None).run()
        for record in report.records:
            say(f"{one} against {other}: {describe(record)}")
            _write_page(place / record.replay)
        atomic.write_json(
            place / "games.json",
            {
                "one": one,
                "other": other,
                "games": [
                    {"replay": record.replay, "outcome": describe(record)}
                    for record in report.records
                ],
            },
        )


def describe(record: GameRecord) -> str:
    """How a game ended, in words."""
    words = {True: "won", False: "lost", None: "drawn"}
    stocks = f"{record.stocks}–{record.opponent_stocks} stocks"
    return f"{words[record.won]} {stocks}, {record.frames / 3600:.1f} min"


def shown_games(folder: Path) -> list[ShownGame]:
    """Those that were played before."""
    found = []
    for path in sorted((folder / SHOWN_GAMES).glob("*/games.json")):
        told = atomic.read_json(path)
        place = path.parent.relative_to(folder).as_posix()
        for game in told["games"]:
            replay = f"{place}/{game['replay']}"
            page = replay.removesuffix(".slp") + ".html"
            found.append(ShownGame(told["one"], told["other"], replay, page, game["outcome"]))
    return found


def _agent(folder: Path, name: str, game: GameConfig, *, games: int, seed: int) -> Agent:
    source = open_policy(folder / run_folder.SNAPSHOTS / name)
    options = None if game.frame_delay is None else AgentOptions(delay=game.frame_delay)
    return make_agent(source, options, batch_size=rows(games), seed=seed)


def _write_page(replay: Path) -> None:
    page = game_page(parse(replay), title=replay.parent.name)
    atomic.write_bytes(replay.with_suffix(".html"), page.encode())


def worth_a_look(state: State) -> tuple[str, list[str]]:
    """The newest main agent, and whom its games are worth looking at against.

    Raises: UserError: if no main agent has learnt yet.
    """
    mains = [snapshot for snapshot in state.snapshots if snapshot.role == "main"]
    if not mains:
        raise UserError("--games: want a main agent that had a turn", "Go on with the league.")
    newest = {s.player: s.name for s in state.snapshots if s.role != "main"}
    rated = state.ratings()
    script = max(state.anchors, key=lambda name: rated[name].points)
    return mains[-1].name, [*newest.values(), script]

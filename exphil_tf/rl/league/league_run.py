"""A league from its options to its standings; free of TensorFlow until somebody learns or plays.

runs/NAME/
  league.json    everything that is known (`league.state`)
  snapshots/     every policy that there was, by name
  turns/         a run for each turn, as of `exphil_tf.ppo`
  policy/        the first main agent, once the league is done: to play, evaluate and export
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_tf.checkpoints import lock, provenance
from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import dump_yaml, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import EXIT_INTERRUPTED
from exphil_tf.rl.league import state as states
from exphil_tf.rl.league.league import League, Learnt, Turn, first_state, players
from exphil_tf.rl.league.standings import print_standings
from exphil_tf.rl.league.state import START, State
from exphil_tf.rl.playing_run import PlayingRun, character_notes, check, pretrained, provenance_of
from exphil_tf.rl.tally import Tally
from exphil_tf.training import run_folder
from exphil_tf.training.league_config import CONTEST_GAMES, LeagueConfig, LeagueOptions
from exphil_tf.training.ppo_config import (
    SCRIPT,
    SELF,
    OpponentConfig,
    PlayingConfig,
    PpoConfig,
    StartConfig,
)
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_options import with_seed

if TYPE_CHECKING:
    from exphil_tf.rl.league.table import Table

RUN_PROG = "python -m exphil_tf.league run"
"""What goes on with a league, whatever began it."""


def run_league(
    config: LeagueConfig, location: RunLocation, *, prog: str, argv: Sequence[str]
) -> int:
    """Runs a league as a command's arguments say; returns the exit code."""
    console = make_console(quiet=not config.run.verbosity)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    league = LeagueRun(with_seed(config), location, prog=prog, argv=argv)
    return league.run(console, environ=os.environ)


@dataclass(frozen=True)
class LeagueRun:
    """A league as a command describes it."""

    config: LeagueConfig
    """Its seed is set."""
    location: RunLocation
    prog: str
    argv: Sequence[str]

    def run(self, console: Console, *, environ: MutableMapping[str, str]) -> int:
        """Goes on until all generations are there; returns the exit code.

        Raises: UserError: if options do not fit one another, or the folder holds another league.
        """
        config, folder = self.config, self.location.run_dir
        self._check()
        console.print(f"league: {folder}  seed: {config.seed}", soft_wrap=True)
        for note in character_notes(config):
            console.print(f"note: {note}", markup=False)
        facts = self._facts()
        if config.run.dry_run:
            names = ", ".join(player.name for player in players(config.league))
            console.print(f"{config.league.generations} generations of {names}", soft_wrap=True)
            return 0
        with lock.hold(folder):
            state = self._begin(facts)
            league = League(
                state,
                config.league,
                slots=config.game.num_games // 2,
                save=lambda state: states.save(state, folder),
            )
            work = LeagueWork(config, folder, console=console, environ=environ)
            if not league.run(work):
                console.print(f"interrupted. Go on: {command(self.prog, '--resume', folder)}")
                return EXIT_INTERRUPTED
            copy_policy(folder / run_folder.SNAPSHOTS / league.main().name, folder / "policy")
            facts["results"] = {"reason": "finished", "steps": len(state.snapshots) - 1}
            atomic.write_json(folder / run_folder.CONFIG_JSON, facts)
        print_standings(state, console)
        return 0

    def _check(self) -> None:
        if self.config.game.is_dolphin:
            raise UserError(
                "--dolphin: a league is played in the simulator, as its anchors are scripts",
                "Leave --dolphin and --iso out, and play the result: python -m exphil_tf.play.",
            )
        check(self.config)
        if self.config.run.contest_games < 1 or self.config.game.num_games < 2:
            raise UserError(
                "--contest-games and --num-games: want at least 1 and 2 in a league. Received: "
                f"{self.config.run.contest_games} and {self.config.game.num_games}"
            )

    def _facts(self) -> dict[str, object]:
        start = pretrained(self.config)
        weights = run_folder.find_bundle(start) / WEIGHTS
        sources = {"pretrained": {"weights_sha256": atomic.sha256(weights)}}
        return provenance.describe_played(
            config=to_dict(self.config),
            seed=self.config.seed,
            prog=self.prog,
            sources=sources,
            start=provenance_of(start),
            argv=self.argv,
        )

    def _begin(self, facts: dict[str, object]) -> State:
        """The state to go on from; a new league's first one."""
        folder, run = self.location.run_dir, self.config.run
        run_folder.claim(self.location, overwrite=run.overwrite, backup_count=run.backup_count)
        if self.location.is_resuming and (folder / run_folder.LEAGUE).is_file():
            saved = run_folder.saved_facts(folder)
            if saved:
                run_folder.check_same(folder, saved, facts)
                facts["created"] = saved.get("created", facts["created"])
        run_folder.save_options(folder, dump_yaml(self.config))
        atomic.write_json(folder / run_folder.CONFIG_JSON, facts)
        if self.location.is_resuming and (folder / run_folder.LEAGUE).is_file():
            return states.load(folder)
        start = run_folder.find_bundle(pretrained(self.config))
        copy_policy(start, folder / run_folder.SNAPSHOTS / START)
        state = first_state(
            seed=self.config.seed,
            anchors=anchors(self.config, self.config.league.anchors),
            weights_sha256=atomic.sha256(start / WEIGHTS),
        )
        states.save(state, folder)
        return state


class LeagueWork:
    """Learns and plays, in a league's folder.

    Args:
      config: of the league.
      folder: its.
      console: takes lines.
      environ: of the process.
      start: snapshot of the network that all have.
    """

    def __init__(
        self,
        config: LeagueConfig,
        folder: Path,
        *,
        console: Console,
        environ: MutableMapping[str, str],
        start: str = START,
    ):
        self._config, self._folder, self._console = config, folder, console
        self._environ, self._start = environ, start
        self._table: Table | None = None

    def tell(self, text: str) -> None:
        """Says a line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def learn(self, turn: Turn) -> Learnt | None:
        """Trains a turn's run, or goes on with it; None if it was interrupted."""
        run_dir = self._folder / run_folder.TURNS / turn.name
        config = turn_config(self._config, turn, self._folder)
        if not run_folder.read_json(run_dir / run_folder.CONFIG_JSON).get("results"):
            is_begun = (run_dir / run_folder.CONFIG_YAML).is_file()
            location = RunLocation(run_dir, is_resuming=is_begun)
            run = PlayingRun(config, location, prog="python -m exphil_tf.ppo", argv=())
            if run.train(self._console, environ=self._environ):
                return None
        results = run_folder.read_json(run_dir / run_folder.CONFIG_JSON)["results"]
        target = self._policy(turn.name)
        copy_policy(run_dir / run_folder.POLICY, target)
        return Learnt(int(results["frames"]), atomic.sha256(target / WEIGHTS))

    def count(self, one: str, other: str, *, seed: int) -> Tally:
        """Plays games to count."""
        if self._table is None:
            with quiet_import():
                from exphil_tf.rl.league.table import Table
            self._table = Table(self._config, self._policy(self._start))
        tally = self._table.count(self._named(one), self._named(other), seed=seed)
        self.tell(f"{one} against {other}: {tally.wins:g} of {tally.games} won")
        return tally

    def _named(self, name: str) -> str:
        return name if name.startswith(SCRIPT) else str(self._policy(name))

    def _policy(self, name: str) -> Path:
        return self._folder / run_folder.SNAPSHOTS / name


def turn_config(config: LeagueConfig, turn: Turn, folder: Path) -> PpoConfig:
    """The options of a turn's run.

    Args:
      config: of the league.
      turn: what is to be learnt.
      folder: of the league.
    """
    snapshots = folder / run_folder.SNAPSHOTS
    opponents = tuple(
        name if name == SELF or name.startswith(SCRIPT) else str(snapshots / name)
        for name in turn.opponents
    )
    run = dataclasses.replace(
        config.run,
        seed=turn.seed,
        timesteps=turn.timesteps or config.run.timesteps,
        name=None,
        run_dir=str(folder / run_folder.TURNS / turn.name),
        resume=None,
        overwrite=False,
        register=False,
        contest_games=0,
        contest_frames=None,
        keep_value_head=True,
    )
    return PpoConfig(
        start=StartConfig(snapshots / turn.parent, kl_teacher=snapshots / START),
        game=config.game,
        reward=config.reward,
        gradient=config.gradient,
        schedule=config.schedule,
        optimizer=config.optimizer,
        run=run,
        against=OpponentConfig(opponents),
    )


def of_playing(config: PlayingConfig) -> LeagueConfig:
    """The league that `self_play --mode league` asks for: the league's own options by default."""
    run = config.run
    if not run.contest_games:
        run = dataclasses.replace(run, contest_games=CONTEST_GAMES)
    return LeagueConfig(
        start=config.start,
        game=config.game,
        reward=config.reward,
        gradient=config.gradient,
        schedule=config.schedule,
        optimizer=config.optimizer,
        run=run,
        league=LeagueOptions(),
    )


def anchors(config: PlayingConfig, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Scripts that a game's ratings are measured from, with their prefix.

    Raises: UserError: if the game has none of that name.
    """
    known = scripts_of(config)
    found = states.script_names(tuple(asked) or known)
    unknown = sorted(set(found) - set(states.script_names(known)))
    if unknown:
        raise UserError(f"--anchors: want some of {', '.join(known)}. Received: {unknown[0]}")
    return found


def scripts_of(config: PlayingConfig) -> tuple[str, ...]:
    """Names of all scripts of a game."""
    from exphil_tf.sim.opponents import SCRIPTS

    return tuple(SCRIPTS)


def copy_policy(source: Path, target: Path) -> None:
    """Publishes a copy of a policy bundle, replacing one that was there."""
    with atomic.publish(target) as temporary:
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name != atomic.CHECKSUMS:
                shutil.copyfile(path, temporary / path.name)

"""A run of learning by playing, from its options to its results; free of TensorFlow until then."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.agents.play_config import required
from exphil_tf.checkpoints import provenance
from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import Loaded, dump_yaml, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.former_options import without_suffix
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.melee.enums import Character, character_from_name, character_name
from exphil_tf.melee.types import TIME_LIMIT_FRAMES
from exphil_tf.process.console import make_console
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.sim.opponents import SCRIPTS
from exphil_tf.training import run_folder
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.compile_cache import kept_compilations
from exphil_tf.training.ppo_config import (
    CPU,
    SCRIPT,
    SELF,
    SNAPSHOT,
    PlayingConfig,
    PpoConfig,
    RentedPlayingConfig,
    SelfPlayConfig,
    is_of_the_game,
)
from exphil_tf.training.run_config import StoppingConfig
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_options import with_frequent_saves, with_seed
from exphil_tf.training.training_run import TrainingRun

if TYPE_CHECKING:
    from exphil_tf.rl.ppo_setup import PlayingSetup


def learn(
    loaded: Loaded[PpoConfig] | Loaded[SelfPlayConfig],
    location: RunLocation,
    *,
    prog: str,
    argv: Sequence[str],
) -> int:
    """Learns by playing as a command's arguments say; returns the exit code."""
    config, notes = with_frequent_saves(loaded.config, given=loaded.given)
    console = make_console(quiet=not config.run.verbosity)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    notes = [*notes, *character_notes(config)]
    run = PlayingRun(with_seed(config), location, prog=prog, argv=argv, notes=notes)
    return run.train(console, environ=os.environ)


@dataclass(frozen=True)
class PlayingRun:
    """A run as a command describes it."""

    config: PlayingConfig
    """Its seed is set."""
    location: RunLocation
    prog: str
    argv: Sequence[str]
    notes: Sequence[str] = ()
    """To be told first."""

    def train(self, console: Console, *, environ: MutableMapping[str, str]) -> int:
        """Learns; returns the exit code.

        Raises: UserError: if options do not fit one another, or a policy is missing.
        """
        config = self.config
        check(config)
        run_folder.check_free(self.location, overwrite=config.run.overwrite)
        for note in (*self.notes, *self.location.notes()):
            console.print(f"note: {note}", markup=False)
        console.print(f"run: {self.location.run_dir}  seed: {config.seed}", soft_wrap=True)
        facts = provenance.describe_played(
            config=to_dict(config),
            seed=config.seed,
            prog=self.prog,
            sources=self._sources(),
            start=provenance_of(pretrained(config)),
            argv=self.argv,
        )
        if config.run.dry_run:
            return 0
        latest = StoppingConfig(save_best=False)
        cloud = config.cloud if isinstance(config, RentedPlayingConfig) else CloudConfig()
        run = TrainingRun(
            self.location,
            config.run,
            latest,
            dump_yaml(config),
            facts,
            cloud=cloud,
            environ=environ,
        )
        with kept_compilations(environ, is_wanted=config.run.keeps_compilations):
            outcome = run.train(self.make_setup, console)
        code = run.report(outcome, console, prog=self.prog)
        if not code and config.run.contest_games:
            self._contest(console)
        if not code and isinstance(config, SelfPlayConfig) and config.mix.track_elo:
            from exphil_tf.rl.league.rated_snapshots import rate_snapshots

            rate_snapshots(config, self.location.run_dir, console)
        return code

    def _contest(self, console: Console) -> None:
        """Counts games, tells and writes them."""
        from exphil_tf.rl.ppo_setup import contests

        found = contests(self.config, self.location.run_dir / run_folder.POLICY)
        told = {name: tally.to_dict() for name, tally in found.items()}
        for name, values in told.items():
            low, high = values["win_rate_95"]
            console.print(
                f"against {name}: {values['wins']:g} of {values['games']} won "
                f"(95 % interval {low:.0%} to {high:.0%}), "
                f"{values['self_destructs_per_game']:.2f} self-destructs a game",
                markup=False,
                soft_wrap=True,
            )
        atomic.write_json(self.location.run_dir / run_folder.CONTEST, {"against": told})

    @contextlib.contextmanager
    def make_setup(self) -> Iterator[PlayingSetup]:
        """The learner and what it plays; TensorFlow is loaded only now."""
        with quiet_import():
            from exphil_tf.rl.ppo_setup import playing_setup

        with playing_setup(self.config, self.location.run_dir) as setup:
            yield setup

    def _sources(self) -> dict[str, Any]:
        """What is learnt from, by content."""
        folders = [name for name in self.config.opponents if is_run(name)]
        policies = {name: {"weights_sha256": _weights_of(Path(name))} for name in folders}
        start = {"weights_sha256": _weights_of(pretrained(self.config))}
        found: dict[str, Any] = {"pretrained": start}
        if policies:
            found["opponents"] = policies
        if self.config.start.kl_teacher is not None:
            found["kl_teacher"] = {"weights_sha256": _weights_of(self.config.start.kl_teacher)}
        return found


def pretrained(config: PlayingConfig) -> Path:
    """The folder to start from.

    Raises: UserError: if none was given.
    """
    if config.start.pretrained is None:
        raise UserError(
            "--pretrained: want the folder of a run. Received: nothing",
            "Train a policy first: python -m exphil_tf.train.",
        )
    return Path(without_suffix(str(config.start.pretrained)))


def provenance_of(policy: Path) -> dict[str, Any]:
    """Where a policy came from, as its bundle tells; empty where it does not.

    Raises: UserError: if there is no policy (66).
    """
    bundle = run_folder.find_bundle(policy)
    told = run_folder.read_json(bundle / run_folder.CONFIG_JSON).get("provenance")
    return told if isinstance(told, dict) else {}


def character_notes(config: PlayingConfig) -> list[str]:
    """What speaks against the character that is to be played, by the games of the start."""
    try:
        start = provenance_of(pretrained(config))
    except UserError:  # which the run itself says, behind what is wrong before it
        return []
    character = character_name(character_from_name(config.game.character))
    found = provenance.unfamiliar(start, character)
    return [found] if found else []


def is_run(opponent: str) -> bool:
    """Whether an opponent is a policy's folder."""
    return opponent != SELF and not opponent.startswith(SNAPSHOT) and not is_of_the_game(opponent)


def check(config: PlayingConfig) -> None:
    """Refuses what does not go together.

    Raises: UserError: naming it.
    """
    if config.game.is_dolphin:
        _check_dolphin(config)
    else:
        _check_simulator(config)
    scripts = {name for name in config.opponents if name.startswith(SCRIPT)}
    for name in sorted(scripts):
        if name.removeprefix(SCRIPT) not in SCRIPTS:
            raise UserError(f"--opponent {name}: want one of {', '.join(SCRIPTS)} behind {SCRIPT}")
    if config.matchmaking != "even" and len(scripts) < 2:
        raise UserError(
            f"--matchmaking {config.matchmaking}: want two scripts to draw from. "
            f"Received: {len(scripts)}",
            "Name more by --opponent script:NAME, or leave --matchmaking out.",
        )
    counts = config.run.contest_games or (
        isinstance(config, SelfPlayConfig) and config.mix.track_elo
    )
    if config.run.contest_frames is not None and not counts:
        raise UserError(
            "--contest-frames: has no effect, as no games are counted", "Give --contest-games, too."
        )
    if isinstance(config, RentedPlayingConfig):
        config.cloud.check()
        if config.cloud.ends_machine and counts:
            name = "--contest-games" if config.run.contest_games else "--track-elo"
            raise UserError(
                f"{name}: games follow the run, whose end --on-exit and --stop-pod await",
                "Leave them out, or count games later.",
            )
    pretrained(config)


def _check_simulator(config: PlayingConfig) -> None:
    computers = [name for name in config.opponents if CPU.fullmatch(name)]
    if computers:
        raise UserError(
            f"--opponent {computers[0]}: the game's own computer plays in Dolphin alone",
            "Give self, script:NAME, or the folder of a run.",
        )
    if config.game.fast_forward or not config.game.headless:
        name = "--fast-forward" if config.game.fast_forward else "--no-headless"
        raise UserError(f"{name}: has no effect in the simulator", "Give --dolphin and --iso, too.")


def _check_dolphin(config: PlayingConfig) -> None:
    from exphil_tf.agents.dolphin import executable

    game = config.game
    scripts = [f"--opponent {name}" for name in config.opponents if name.startswith(SCRIPT)]
    scripts += [f"--matchmaking {config.matchmaking}"] * (config.matchmaking != "even")
    if isinstance(config, SelfPlayConfig) and config.mix.track_elo:
        scripts.append("--track-elo")
    if scripts:
        raise UserError(
            f"{scripts[0]}: scripts play in the simulator alone",
            "Leave it out; give self, cpu1 to cpu9, or the folder of a run as --opponent.",
        )
    if game.max_episode_frames != TIME_LIMIT_FRAMES or config.run.contest_frames is not None:
        is_counted = game.max_episode_frames == TIME_LIMIT_FRAMES
        name = "--contest-frames" if is_counted else "--max-episode-frames"
        raise UserError(
            f"{name}: nobody can break off a game in Dolphin, which ends by its own clock, eight "
            "minutes",
            f"Leave {name} out.",
        )
    character = game.opponent_character or game.character
    if character_from_name(character) is Character.SHEIK and any(
        map(CPU.fullmatch, config.opponents)
    ):
        raise UserError(
            "--opponent-character sheik: Dolphin's computer cannot be made to choose Sheik",
            "Choose another, such as zelda.",
        )
    dolphin = required("dolphin", game.dolphin)
    required("iso", game.iso)
    executable(dolphin)


def _weights_of(folder: Path) -> str:
    """Checksum of a policy's weights.

    Raises: UserError: if there is no policy (66), or it is damaged (65).
    """
    bundle = run_folder.find_bundle(folder)
    found = atomic.problems(bundle)
    if found:
        raise UserError(
            f"{bundle}: not a sound policy bundle: {found[0]}",
            "Copy it again, or resume its run, which exports it anew.",
            exit_code=EXIT_DATA,
        )
    return atomic.sha256(bundle / WEIGHTS)

"""Joins a game, a trained policy and an optimizer into a learner by playing."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.checkpoints.value_weights import (
    VALUE_WEIGHTS,
    StoredValueHead,
    load_value_head,
    value_file,
)
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import Character, Stage, character_from_name, stage_from_name
from exphil_tf.rl import contest
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.matches import Matches
from exphil_tf.rl.playing_run import pretrained
from exphil_tf.rl.ppo_learner import PpoLearner, PpoParts, ScaledSchedule
from exphil_tf.rl.rollout import Rollout, RolloutOptions, Rollouts
from exphil_tf.rl.script_matchmaking import PRIORITIES, Matchmaking
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.sim_matches import SimMatches
from exphil_tf.rl.snapshots import Snapshots
from exphil_tf.rl.tally import Tally
from exphil_tf.training import run_folder
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.learner_run import LearnerSetup
from exphil_tf.training.numerics import numerics
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.ppo_config import (
    SCRIPT,
    SELF,
    SNAPSHOT,
    GameConfig,
    PlayingConfig,
    SelfPlayConfig,
    is_of_the_game,
)
from exphil_tf.training.schedules import Schedule
from exphil_tf.training.updater import Updater
from models.heads.value import ValueHead
from models.layers.embedding_layout import InputLayout
from models.policy import Policy

_LATE = 3
"""`--late-reward-weights` hold in the last one of so many parts of a run."""


@dataclass(frozen=True)
class PlayingSetup(LearnerSetup[Rollout]):
    """A learner by playing, ready to run."""

    ppo: PpoLearner
    rollouts: Rollouts


@contextlib.contextmanager
def playing_setup(config: PlayingConfig, run_dir: Path) -> Iterator[PlayingSetup]:
    """Builds everything that a run of learning by playing needs, to be used inside the block.

    Args:
      config: resolved, with a seed.
      run_dir: where snapshots go.

    Raises: UserError: if a policy is missing or unsound, or options do not fit one another.
    """
    run = config.run
    with numerics(seed=config.seed, precision=run.precision, is_deterministic=run.deterministic):
        setup = _build(config, run_dir)
        with contextlib.closing(setup.rollouts.matches):
            yield setup


def _build(config: PlayingConfig, run_dir: Path) -> PlayingSetup:
    folder = run_folder.find_bundle(pretrained(config))
    policy, info = bundles.load_policy(folder)
    seating = seat(config)
    others = _others(config, seating)
    snapshots = _snapshots(
        config, policy, info, others=others, folder=run_dir / run_folder.SNAPSHOTS
    )
    rows = len(seating.learner)
    per_update = rows * config.gradient.rollout
    horizon = Horizon.of_frames(
        config.run.timesteps,
        per_update=per_update,
        per_epoch=per_update * config.run.save_interval,
    )
    updates = horizon.total_steps
    rollouts = _rollouts(config, policy, info, seating=seating, others=others, updates=updates)
    rollouts.snapshots = snapshots
    learner = make_learner(
        config,
        policy,
        _value_head(config, policy, folder),
        teacher=_teacher(config, folder),
        rollouts=rollouts,
        updates=updates,
    )
    return PlayingSetup(
        learner=learner,
        data=rollouts,
        validation=None,
        horizon=horizon,
        start=lambda: _start(snapshots),
        export=_exporter(config, info, learner),
        notes=(_summary(config, rows, horizon),),
        ppo=learner,
        rollouts=rollouts,
    )


@dataclass(frozen=True)
class Seating:
    """Who sits where."""

    learner: Seats
    others: Mapping[str, Seats]
    """By opponent."""


def seat(config: PlayingConfig) -> Seating:
    """Shares matches out among the opponents; who learns changes ports from match to match."""
    learner: list[tuple[int, int]] = []
    others: dict[str, list[tuple[int, int]]] = {}
    opponents = config.opponents
    for match in range(config.game.num_games):
        opponent = opponents[match % len(opponents)]
        side = match // len(opponents) % 2
        learner.append((match, side))
        if opponent == SELF:
            learner.append((match, 1 - side))
        else:
            others.setdefault(opponent, []).append((match, 1 - side))
    return Seating(Seats.of(learner), {name: Seats.of(pairs) for name, pairs in others.items()})


def _others(config: PlayingConfig, seating: Seating) -> dict[str, Actor]:
    """The policies that do not learn, by opponent."""
    found: dict[str, Actor] = {}
    for name, seats in seating.others.items():
        if is_of_the_game(name):
            continue
        folder = pretrained(config) if name.startswith(SNAPSHOT) else Path(name)
        policy, info = bundles.load_policy(run_folder.find_bundle(folder))
        delay = delay_of(info, config.game.frame_delay)
        found[name] = Actor(policy, info, seats, delay=delay, jit=config.run.jit)
    return found


def _snapshots(
    config: PlayingConfig,
    policy: Policy,
    info: PolicyInfo,
    *,
    others: Mapping[str, Actor],
    folder: Path,
) -> Snapshots | None:
    if not isinstance(config, SelfPlayConfig):
        return None
    return Snapshots(
        folder,
        policy,
        info,
        players=[actor.policy for name, actor in others.items() if name.startswith(SNAPSHOT)],
        interval=config.mix.snapshot_interval,
        history=config.mix.snapshot_history,
        seed=config.seed,
    )


def _start(snapshots: Snapshots | None) -> dict[str, Any]:
    """Keeps the policy that a new run starts from as its first snapshot."""
    if snapshots is not None:
        snapshots.after(0)
    return {}


def _rollouts(
    config: PlayingConfig,
    policy: Policy,
    info: PolicyInfo,
    *,
    seating: Seating,
    others: Mapping[str, Actor],
    updates: int,
) -> Rollouts:
    matches = make_matches(config, seating.learner, policy.embedding.inputs, staggered=True)
    for name, seats in seating.others.items():
        if is_of_the_game(name):
            seat_script(matches, name, seats)
    delay = delay_of(info, config.game.frame_delay)
    actor = Actor(policy, info, seating.learner, delay=delay, jit=config.run.jit)
    options = RolloutOptions(
        length=config.gradient.rollout,
        discount=config.reward.gamma,
        weights=config.reward.weights(),
        seed=config.seed,
        late_weights=config.reward.late_weights(),
        late_from=updates - updates // _LATE,
    )
    rollouts = Rollouts(matches, actor, others=tuple(others.values()), options=options)
    rollouts.matchmaking = _matchmaking(config, matches, seating)
    return rollouts


def _matchmaking(config: PlayingConfig, matches: Matches, seating: Seating) -> Matchmaking | None:
    scripted = {n: seats for n, seats in seating.others.items() if n.startswith(SCRIPT)}
    if config.matchmaking == "even" or not scripted:
        return None
    names = [name.removeprefix(SCRIPT) for name, seats in scripted.items() for _ in seats.match]
    match, player = (
        np.concatenate([getattr(seats, part) for seats in scripted.values()])
        for part in ("match", "player")
    )
    priority = PRIORITIES[config.matchmaking]
    return Matchmaking(matches, Seats(match, player), names, priority=priority, seed=config.seed)


def seat_script(matches: Matches, name: str, seats: Seats) -> None:
    """Lets a script or the game's own computer play.

    Args:
      matches: of the game.
      name: of the script, with its prefix, or of the computer.
      seats: its.

    Raises: UserError: if there is none of that name.
    """
    try:
        matches.seat_script(name.removeprefix(SCRIPT), seats)
    except ValueError as error:
        raise UserError(f"--opponent {name}: {error}", "Choose another --opponent.") from error


def make_matches(
    config: PlayingConfig, own: Seats, layout: InputLayout, *, staggered: bool = False
) -> Matches:
    """The matches that are played, for a policy that reads them so; to be closed.

    Args:
      config: which game, who, where.
      own: seats of the character that learns; the first of a match counts.
      layout: of the policy that learns.
      staggered: see `SimMatches`; games in Dolphin cannot be cut short.
    """
    game = config.game
    pair = [character_from_name(game.character)]
    pair.append(character_from_name(game.opponent_character or game.character))
    sides = dict(zip(own.match[::-1].tolist(), own.player[::-1].tolist(), strict=True))
    characters = [(pair[sides[m]], pair[1 - sides[m]]) for m in sorted(sides)]
    stages = [stage_from_name(game.stage)] * len(sides)
    if game.is_dolphin:
        return _dolphin_matches(game, characters, stages)
    return SimMatches(
        characters, stages, layout=layout,
        limit_frames=game.max_episode_frames, seed=config.seed, staggered=staggered,
    )  # fmt: skip


def _dolphin_matches(
    game: GameConfig, characters: Sequence[tuple[Character, Character]], stages: Sequence[Stage]
) -> Matches:
    """As fast as Dolphin goes; games leave no replays."""
    from exphil_tf.agents.dolphin import DolphinOptions
    from exphil_tf.rl.dolphin_matches import DolphinMatches

    assert game.dolphin is not None
    options = DolphinOptions(
        game.dolphin,
        game.iso,
        replay_dir=None,
        speed=0.0,
        is_headless=game.headless,
        is_fast_forward=game.fast_forward,
    )
    return DolphinMatches(characters, stages, options=options)


def make_learner(
    config: PlayingConfig,
    policy: Policy,
    value: ValueHead,
    *,
    teacher: Policy | None,
    rollouts: Rollouts,
    updates: int,
) -> PpoLearner:
    """The learner of a policy and a value head, and their optimizers.

    Args:
      config: resolved, with a seed.
      policy: learns.
      value: learns.
      teacher: the policy is held near it.
      rollouts: what the policy plays.
      updates: of the run.
    """
    gradient = config.gradient
    rows = len(rollouts.learner.seats)
    parts = max(n for n in range(1, gradient.minibatches + 1) if rows % n == 0)
    gradient = dataclasses.replace(gradient, minibatches=parts)
    steps = updates * gradient.ppo_epochs * parts
    schedule = ScaledSchedule(Schedule(config.schedule, total_steps=steps))
    own, of_value = (
        Updater(variables, build_optimizer(config.optimizer, schedule, variables), config.optimizer)
        for variables in (policy.trainable_variables, value.trainable_variables)
    )
    return PpoLearner(
        PpoParts(policy, value, teacher, own, of_value, schedule),
        config=gradient,
        rollouts=rollouts,
        seed=config.seed,
        jit=config.run.jit,
    )


def _teacher(config: PlayingConfig, folder: Path) -> Policy | None:
    is_asked = config.gradient.teacher_kl or config.gradient.teacher_reverse_kl
    if not is_asked:
        return None
    teacher, _ = bundles.load_policy(folder)
    if config.start.kl_teacher is not None:
        bundles.start_from(teacher, run_folder.find_bundle(config.start.kl_teacher))
    return teacher


def _value_head(config: PlayingConfig, policy: Policy, folder: Path) -> ValueHead:
    """That of the bundle, or a new one."""
    stops = not config.gradient.value_shapes_policy
    stored = load_value_head(folder, stop_gradient=stops)
    if stored is not None:
        return stored.head
    return ValueHead(
        policy.backbone.width + policy.num_previous,
        hidden=config.gradient.value_layers,
        stop_gradient=stops,
        seed=config.seed,
        name="value",
    )


def _exporter(
    config: PlayingConfig, info: PolicyInfo, learner: PpoLearner
) -> Callable[[Path, Mapping[str, Any]], None]:
    weights = "ema" if config.optimizer.ema else "raw"

    def export(folder: Path, provenance: Mapping[str, Any]) -> None:
        stamped = dataclasses.replace(info, provenance=dict(provenance), weights=weights)
        attached: dict[str, bytes] = {}
        if config.run.keep_value_head:
            gamma = config.reward.gamma
            half_life = math.log(0.5) / math.log(gamma) if gamma < 1 else math.inf
            attached[VALUE_WEIGHTS] = value_file(StoredValueHead(learner.value, half_life))
        with learner.averaged():
            bundles.save_policy(folder, learner.policy, stamped, attached=attached)

    return export


def _summary(config: PlayingConfig, rows: int, horizon: Horizon) -> str:
    frames = rows * config.gradient.rollout
    return (
        f"{config.game.num_games} games against {', '.join(config.opponents)}; {rows} players "
        f"learn, {frames:,} frames an update, {horizon.total_steps:,} updates"
    )


MOST_MATCHES = 256
"""That a contest steps together in the simulator; in Dolphin it is --num-games."""


def contests(config: PlayingConfig, folder: Path) -> dict[str, Tally]:
    """Games of a run's policy against the one it started from, and against each opponent.

    Args:
      config: resolved, with a seed.
      folder: of the policy.
    """
    named = [n for n in config.opponents if n != SELF and not n.startswith(SNAPSHOT)]
    opponents = dict.fromkeys([str(pretrained(config)), *named])
    return {name: _contest(config, folder, name) for name in opponents}


def _contest(config: PlayingConfig, folder: Path, opponent: str) -> Tally:
    wanted = config.run.contest_games
    count = min(wanted, config.game.num_games if config.game.is_dolphin else MOST_MATCHES)
    own, other = (
        Seats.of([(match, (match + side) % 2) for match in range(count)]) for side in (0, 1)
    )
    policy, info = bundles.load_policy(folder)
    asked, jit = config.game.frame_delay, config.run.jit
    matches = make_matches(with_contest_clock(config), own, policy.embedding.inputs)
    actors = [Actor(policy, info, own, delay=delay_of(info, asked), jit=jit)]
    if is_of_the_game(opponent):
        seat_script(matches, opponent, other)
    else:
        their, its = bundles.load_policy(run_folder.find_bundle(Path(opponent)))
        actors.append(Actor(their, its, other, delay=delay_of(its, asked), jit=jit))
    with contextlib.closing(matches):
        return contest.play(matches, own, actors, games=-(-wanted // count), seed=config.seed)


def with_contest_clock(config: PlayingConfig) -> PlayingConfig:
    """The same, but that a game is as long as counted ones may be."""
    frames = config.run.contest_frames or config.game.max_episode_frames
    game = dataclasses.replace(config.game, max_episode_frames=frames)
    return dataclasses.replace(config, game=game)


def delay_of(info: PolicyInfo, asked: int | None) -> int:
    """Frames between a state and the input that answers it: what was asked for, or the policy's."""
    return info.delay.frames if asked is None else asked

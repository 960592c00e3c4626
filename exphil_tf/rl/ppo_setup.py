"""Joins a game, a trained policy and an optimizer into a learner by playing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.checkpoints.value_weights import load_value_head
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import character_from_name, stage_from_name
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.matches import Matches
from exphil_tf.rl.mock_matches import MockMatches
from exphil_tf.rl.playing_run import pretrained
from exphil_tf.rl.ppo_learner import PpoLearner, PpoParts, ScaledSchedule
from exphil_tf.rl.rollout import Rollout, RolloutOptions, Rollouts
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.sim_matches import SimMatches
from exphil_tf.training import run_folder
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.learner_run import LearnerSetup
from exphil_tf.training.numerics import numerics
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.ppo_config import SCRIPT, SELF, PlayingConfig
from exphil_tf.training.schedules import Schedule
from exphil_tf.training.updater import Updater
from models.heads.value import ValueHead
from models.layers.embedding_layout import InputLayout
from models.policy import Policy


@dataclass(frozen=True)
class PlayingSetup(LearnerSetup[Rollout]):
    """A learner by playing, ready to run."""

    ppo: PpoLearner
    rollouts: Rollouts


@contextlib.contextmanager
def playing_setup(config: PlayingConfig) -> Iterator[PlayingSetup]:
    """Builds everything that a run of learning by playing needs, to be used inside the block.

    Args:
      config: resolved, with a seed.

    Raises: UserError: if a policy is missing or unsound, or options do not fit one another.
    """
    run = config.run
    with numerics(seed=config.seed, precision=run.precision, is_deterministic=run.deterministic):
        yield _build(config)


def _build(config: PlayingConfig) -> PlayingSetup:
    folder = run_folder.find_bundle(pretrained(config))
    policy, info = bundles.load_policy(folder)
    seating = seat(config)
    rollouts = _rollouts(config, policy, info, seating=seating)
    rows = len(seating.learner)
    _check_minibatches(config, rows)
    per_update = rows * config.gradient.rollout
    horizon = Horizon.of_frames(
        config.run.timesteps,
        per_update=per_update,
        per_epoch=per_update * config.run.save_interval,
    )
    learner = make_learner(
        config,
        policy,
        _value_head(config, policy, folder),
        teacher=_teacher(config, folder),
        rollouts=rollouts,
        updates=horizon.total_steps,
    )
    return PlayingSetup(
        learner=learner,
        data=rollouts,
        validation=None,
        horizon=horizon,
        start=lambda: {},
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


def _check_minibatches(config: PlayingConfig, rows: int) -> None:
    if rows % config.gradient.minibatches:
        raise UserError(
            f"--minibatches: want a divisor of the {rows} players that learn. "
            f"Received: {config.gradient.minibatches}",
            "Choose another --num-games or --minibatches.",
        )


def _rollouts(
    config: PlayingConfig, policy: Policy, info: PolicyInfo, *, seating: Seating
) -> Rollouts:
    matches = make_matches(config, seating, policy.embedding.inputs)
    jit, game = config.run.jit, config.game
    delay = info.delay.frames if game.frame_delay is None else game.frame_delay
    actor = Actor(policy, info, seating.learner, delay=delay, jit=jit)
    others: list[Actor] = []
    for name, seats in seating.others.items():
        if name.startswith(SCRIPT):
            _seat_script(matches, name, seats)
            continue
        opponent, its = bundles.load_policy(run_folder.find_bundle(Path(name)))
        others.append(Actor(opponent, its, seats, delay=its.delay.frames, jit=jit))
    options = RolloutOptions(
        length=config.gradient.rollout,
        discount=config.reward.gamma,
        weights=config.reward.weights(),
        seed=config.seed,
    )
    return Rollouts(matches, actor, others=others, options=options)


def _seat_script(matches: Matches, name: str, seats: Seats) -> None:
    try:
        matches.seat_script(name.removeprefix(SCRIPT), seats)
    except ValueError as error:
        raise UserError(f"--opponent {name}: {error}", "Choose another --opponent.") from error


def make_matches(config: PlayingConfig, seating: Seating, layout: InputLayout) -> Matches:
    """The matches that are played, for a policy that reads them so."""
    game = config.game
    own = character_from_name(game.character)
    other = character_from_name(game.opponent_character or game.character)
    sides = dict.fromkeys(range(game.num_games), 0)
    own_seats = zip(seating.learner.match[::-1], seating.learner.player[::-1], strict=True)
    sides |= {int(match): int(player) for match, player in own_seats}
    characters = [(own, other) if not sides[m] else (other, own) for m in range(game.num_games)]
    stages = [stage_from_name(game.stage)] * game.num_games
    limits = {"limit_frames": game.max_episode_frames, "seed": config.seed}
    if game.mock:
        return MockMatches(characters, stages, **limits)
    return SimMatches(characters, stages, layout=layout, **limits)


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
    steps = updates * gradient.ppo_epochs * gradient.minibatches
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
    return bundles.load_policy(folder)[0] if is_asked else None


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
        with learner.averaged():
            bundles.save_policy(folder, learner.policy, stamped)

    return export


def _summary(config: PlayingConfig, rows: int, horizon: Horizon) -> str:
    frames = rows * config.gradient.rollout
    return (
        f"{config.game.num_games} games against {', '.join(config.opponents)}; {rows} players "
        f"learn, {frames:,} frames an update, {horizon.total_steps:,} updates"
    )

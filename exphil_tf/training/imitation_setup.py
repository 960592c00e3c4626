"""Joins a dataset, a policy and an optimizer into an imitation learner that is ready to run.

The order matters for repeating a run: precision and seeds first (`training.numerics`), then the
policy, then the data.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo
from exphil_tf.checkpoints.value_weights import VALUE_WEIGHTS, value_file
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.rewards.win_score import Weights
from exphil_tf.training import losses, run_folder
from exphil_tf.training.calibration import calibrate
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.dataset_split import DatasetSplit
from exphil_tf.training.devices import open_strategy
from exphil_tf.training.imitation import ImitationLearner, StepOptions, trainable_variables
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.learner import EpochData
from exphil_tf.training.learner_run import LearnerSetup
from exphil_tf.training.loss_term import LossTerm
from exphil_tf.training.markov_start import num_batches, transition_rates_of
from exphil_tf.training.mirrored import MirroredLearner
from exphil_tf.training.numerics import numerics
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.plan import Plan, make_plan
from exphil_tf.training.run_config import ScheduleConfig
from exphil_tf.training.schedules import Schedule, fit_warmup
from exphil_tf.training.updater import Updater
from exphil_tf.training.value_learner import ValueBesideImitation
from exphil_tf.training.value_term import ValueTerm, make_value_term
from exphil_tf.training.win_fit import MOST_FRAMES, fit_win_weights, thinned, win_views
from models.carried_state import CarriedState
from models.policy import Policy
from models.policy_inputs import Batch

_log = logging.getLogger(__name__)
LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule
ScheduleFn = Callable[[ScheduleConfig, int], LearningRateSchedule]
"""From the options and the run's updates to a learning rate."""


@dataclass(frozen=True)
class ImitationSetup(LearnerSetup[Batch]):
    """An imitation learner, ready to run, and what the run will be."""

    imitation: ImitationLearner
    """The learner; that of the policy where values are learnt beside, the first device's where
    there are several."""
    plan: Plan


@dataclass(frozen=True)
class Supervision:
    """What a teacher adds to imitation."""

    terms: tuple[LossTerm, ...]
    """Its share of the loss."""
    data: EpochData[Batch] | None = None
    """Training batches with its stored logits; None where it is asked about the dataset's own."""


@contextlib.contextmanager
def imitation_setup(
    config: ImitationConfig,
    dataset: Dataset,
    *,
    open_teacher: Callable[[], Supervision] = lambda: Supervision(()),
    schedule_fn: ScheduleFn | None = None,
) -> Iterator[ImitationSetup]:
    """Builds everything that an imitation run trains with, to be used inside the block.

    Args:
      config: resolved options.
      dataset: what is learnt from and validated on.
      open_teacher: makes what is learnt from besides; called under the run's precision.
      schedule_fn: makes another learning rate than the options ask for.

    Raises: UserError: if the options don't fit the dataset or one another.
    """
    run = config.run
    strategy = open_strategy(run.devices, batch_size=run.batch_size)
    with numerics(seed=config.seed, precision=run.precision, is_deterministic=run.deterministic):
        schedule = schedule_fn or _schedule
        yield _build(config, dataset, open_teacher, strategy=strategy, schedule_fn=schedule)


def _build(
    config: ImitationConfig,
    dataset: Dataset,
    open_teacher: Callable[[], Supervision],
    *,
    strategy: tf.distribute.Strategy | None,
    schedule_fn: ScheduleFn,
) -> ImitationSetup:
    first, *others = strategy.extended.worker_devices if strategy else (None,)
    with tf.device(first):
        teacher = open_teacher()
        policy = _policy(config)
    if teacher.data is not None:
        _check_stored(config)
    data = teacher.data or _split(config, dataset, "train")
    validation = _split(config, dataset, "validation") if dataset.has_validation else None
    plan = _plan(config, data=data, validation=validation)
    schedule = schedule_fn(config.schedule, plan.horizon.total_steps)
    maker = _LearnerMaker(config, dataset.manifest, plan, schedule)
    with tf.device(first):
        imitation, value = maker.make(policy, teacher)
    if strategy is None:
        learner = _with_heads(config, imitation, value, schedule=schedule)
    else:
        replicas = [imitation]
        for device in others:
            with tf.device(device):
                replicas.append(maker.make(_policy(config), open_teacher())[0])
        learner = MirroredLearner(replicas, strategy)
    return ImitationSetup(
        learner=learner,
        data=data,
        validation=validation,
        horizon=plan.horizon,
        start=lambda: _start(config, imitation, data, counted=num_batches(plan.train)),
        export=_exporter(
            _policy_info(config, dataset.manifest),
            learner,
            value=value if config.value.value_in_bundle else None,
            win_fn=functools.cache(functools.partial(_win_weights, config, dataset)),
        ),
        notes=(plan.summary(), *plan.cautions()),
        imitation=imitation,
        plan=plan,
    )


def _policy(config: ImitationConfig) -> Policy:
    return Policy(config.policy, seed=config.seed, name="policy")


def _with_heads(
    config: ImitationConfig,
    imitation: ImitationLearner,
    value: ValueTerm | None,
    *,
    schedule: LearningRateSchedule,
) -> ImitationLearner | ValueBesideImitation:
    """Imitation with the heads that are learnt beside it."""
    learner = imitation
    if value is not None and not value.weight:
        updater = _updater(config, schedule, value.trainable_variables)
        learner = ValueBesideImitation(learner, value, updater)
    return learner


@dataclass(frozen=True)
class _LearnerMaker:
    """Makes the learner of one device."""

    config: ImitationConfig
    manifest: Manifest
    plan: Plan
    schedule: LearningRateSchedule

    def make(
        self, policy: Policy, teacher: Supervision
    ) -> tuple[ImitationLearner, ValueTerm | None]:
        """The policy's learner, and the value head that it learns or that is learnt beside it."""
        config = self.config
        value = make_value_term(config.value, policy, seed=config.seed)
        # Values that shape the policy join its loss; others must not touch its step.
        joined = (value,) if value is not None and value.weight else ()
        terms = (*teacher.terms, *joined)
        updater = _updater(config, self.schedule, trainable_variables(policy, terms))
        return ImitationLearner(policy, updater, self._options(terms)), value

    def _options(self, terms: tuple[LossTerm, ...]) -> StepOptions:
        config = self.config
        rates = self.manifest.stats["train"].press_rates()
        return StepOptions(
            config.loss,
            losses.button_weights(config.loss.button_pos_weight, [rates[name] for name in BUTTONS]),
            jit=config.run.jit,
            terms=terms,
            freeze_step=_freeze_step(config, self.plan.horizon.total_steps),
            carried_rows=config.carried_rows,
            carried_turns=config.input.cursors_per_row,
        )


def _check_stored(config: ImitationConfig) -> None:
    """Refuses stored batches where the policy is to be told what they do not hold."""
    told = config.input.conditions
    ids = told.players or ()
    if told.returns is not None or ids != tuple(range(len(ids))):
        raise UserError(
            "--soft-labels: they hold no returns, and no player ids but the dataset's own",
            "Give --teacher without them: it answers while the student trains.",
        )


def _split(config: ImitationConfig, dataset: Dataset, split: str) -> DatasetSplit:
    is_training = split == "train"
    reading = config.input
    if not is_training:
        # Nobody knows in play what will be gained; so figures compare with those of other runs.
        told = dataclasses.replace(reading.conditions, returns=None)
        reading = dataclasses.replace(reading, conditions=told)
    return DatasetSplit(
        dataset.manifest,
        dataset.folder,
        reading,
        split=split,
        batch_size=config.run.batch_size,
        seed=config.seed,
        is_training=is_training,
    )


def _plan(
    config: ImitationConfig, *, data: EpochData[Batch], validation: EpochData[Batch] | None
) -> Plan:
    size = None if validation is None else validation.epoch_size()
    return make_plan(config, train=data.epoch_size(), validation=size)


def _updater(
    config: ImitationConfig, schedule: LearningRateSchedule, variables: list[keras.Variable]
) -> Updater:
    optimizer = build_optimizer(config.optimizer, schedule, variables)
    return Updater(variables, optimizer, config.optimizer)


def _schedule(asked: ScheduleConfig, total_steps: int) -> Schedule:
    """Learning rate over the run; a warm-up that would outlast it is shortened, aloud.

    Raises: UserError: if warm-up is longer than an explicit `decay_steps`.
    """
    fitted = fit_warmup(asked, total_steps)
    if fitted != asked:
        _log.warning(
            "--warmup-steps %d would outlast this run of %d steps: warming up for %d",
            asked.warmup_steps,
            total_steps,
            fitted.warmup_steps,
        )
    try:
        return Schedule(fitted, total_steps=total_steps)
    except ValueError as error:
        raise UserError(str(error), "Choose fewer --warmup-steps or more --decay-steps.") from error


def _has_stored_ranges(config: ImitationConfig) -> bool:
    return config.policy.quantization.rounding == "moving_average"


def _freeze_step(config: ImitationConfig, total_steps: int) -> int | None:
    if not _has_stored_ranges(config):
        return None
    return math.ceil(config.fine_tune.freeze_ranges * total_steps)


def _start(
    config: ImitationConfig, learner: ImitationLearner, data: EpochData[Batch], *, counted: int
) -> Mapping[str, Any]:
    """Weights of another run, or what some batches tell; and first ranges of what is quantized."""
    tuning, facts = config.fine_tune, {}
    if tuning.init_from is not None:
        bundle = run_folder.find_bundle(Path(tuning.init_from))
        info = bundles.start_from(learner.policy, bundle)
        facts["init_from"] = {
            "weights_sha256": atomic.sha256(bundle / bundles.WEIGHTS),
            "results": info.provenance.get("results"),
        }
        learner.updater.restart_averages()
    elif learner.policy.head.previous_action is not None:
        batches = itertools.islice(data.batches(), counted)
        head = learner.policy.head
        head.start_at(transition_rates_of(batches, head.config.codec))
        learner.updater.restart_averages()
    if _has_stored_ranges(config):
        batches = itertools.islice(data.batches(), tuning.calibration_batches)
        rows, turns = config.carried_rows, config.input.cursors_per_row
        carried = CarriedState(learner.policy, rows, turns=turns) if rows else None
        calibrate(learner.policy, batches, carried=carried)
    return facts


def _policy_info(config: ImitationConfig, manifest: Manifest) -> PolicyInfo:
    """What a bundle says of the policy, but for where it came from."""
    players = config.players
    if players is None and config.policy.embedding.learn_player_styles:
        ids = {entry.player: entry.id for entry in manifest.players}
        players = KnownPlayers(ids, str(manifest.config.get("pseudonyms", "")))
    return PolicyInfo(
        config=config.policy,
        delay=Delay(config.input.frame_delay, *config.input.delays(training=True)),
        weights="ema" if config.optimizer.ema else "raw",
        window_size=config.input.window_size,
        players=players,
    )


def _win_weights(config: ImitationConfig, dataset: Dataset) -> Weights | None:
    """The win probability of the games that are learnt from, if it is wanted and one was won."""
    if not config.value.win_probability:
        return None
    views = win_views(dataset.manifest, dataset.folder, "train", max_frames=MOST_FRAMES)
    weights = fit_win_weights(map(thinned, views))
    if weights is None:
        _log.warning("--win-probability: nobody is known to have won a game, so none is learnt")
    return weights


def _exporter(
    info: PolicyInfo,
    learner: ImitationLearner | MirroredLearner | ValueBesideImitation,
    *,
    value: ValueTerm | None,
    win_fn: Callable[[], Weights | None],
) -> Callable[[Path, Mapping[str, Any]], None]:
    def export(folder: Path, provenance: Mapping[str, Any]) -> None:
        stamped = dataclasses.replace(info, provenance=dict(provenance), win_probability=win_fn())
        with learner.averaged():
            attached = {} if value is None else {VALUE_WEIGHTS: value_file(value.stored())}
            bundles.save_policy(folder, learner.policy, stamped, attached=attached)

    return export

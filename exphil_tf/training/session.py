"""Joins dataset, policy, optimizer, checkpoints and telemetry into one run.

The order matters for repeating a run: precision and seeds first, then the policy, then the data.
"""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo
from exphil_tf.checkpoints.store import Checkpoint, CheckpointStore, open_checkpoint
from exphil_tf.data import input as data_input
from exphil_tf.data.input import EpochSize
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE, EXIT_NO_INPUT
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.training import losses, run_folder
from exphil_tf.training.calibration import calibrate
from exphil_tf.training.console import ConsoleSink
from exphil_tf.training.imitation import Imitation, SoftLoss, StepOptions
from exphil_tf.training.interrupts import Interrupts
from exphil_tf.training.loop import Loop, Outcome, Parts
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.plan import Plan, make_plan
from exphil_tf.training.policy_inputs import Batch
from exphil_tf.training.run_folder import Target
from exphil_tf.training.schedules import Schedule, fit_warmup
from exphil_tf.training.state import Position, TrainState
from exphil_tf.training.telemetry import JsonLines, Sink, Telemetry, TensorBoard, WandB
from exphil_tf.training.train_config import TrainConfig
from exphil_tf.training.updater import Updater
from models.policy import Policy

_log = logging.getLogger(__name__)


def prepare_process(config: TrainConfig) -> None:
    """Sets what Keras and TensorFlow keep per process: precision, determinism, GPU memory."""
    for device in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # the process has used it already: as it is, then
            tf.config.experimental.set_memory_growth(device, True)
    keras.utils.set_random_seed(_seed(config))
    policy = {"f32": "float32", "bf16": "mixed_bfloat16"}[config.run.precision]
    keras.config.set_dtype_policy(policy)
    if config.run.deterministic:
        tf.config.experimental.enable_op_determinism()


@dataclass(frozen=True)
class Session:
    """One run's parts, built on demand."""

    config: TrainConfig
    """Resolved; its seed is set."""
    manifest: Manifest
    data_dir: Path

    @cached_property
    def policy(self) -> Policy:
        """The network with its initial weights."""
        config = self.config.policy(self.manifest.unrecorded())
        return Policy(config, seed=_seed(self.config), name="policy")

    @cached_property
    def plan(self) -> Plan:
        """Frames, updates, parameters, memory."""
        with self._named_shards():
            train = self._epoch_size("train", training=True)
            validation = (
                self._epoch_size("validation", training=False) if self.has_validation else None
            )
        return make_plan(self.config, self.policy, train=train, validation=validation)

    @cached_property
    def schedule(self) -> Schedule:
        """Learning rate over the run; a warm-up that would outlast it is shortened, aloud.

        Raises: UserError: if warm-up is longer than an explicit `decay_steps`.
        """
        total, asked = self.plan.horizon.total_steps, self.config.schedule
        fitted = fit_warmup(asked, total)
        if fitted != asked:
            _log.warning(
                "--warmup-steps %d would outlast this run of %d steps: warming up for %d",
                asked.warmup_steps,
                total,
                fitted.warmup_steps,
            )
        try:
            return Schedule(fitted, total_steps=total)
        except ValueError as error:
            raise UserError(
                str(error), "Choose fewer --warmup-steps or more --decay-steps."
            ) from error

    @property
    def soft_loss(self) -> SoftLoss | None:
        """What a teacher adds to the loss; nothing here, see `training.distillation`."""
        return None

    @property
    def has_validation(self) -> bool:
        """Whether the dataset has games to validate on."""
        return self.manifest.frames("validation") > 0

    def train(
        self,
        target: Target,
        interrupts: Interrupts,
        *,
        provenance: dict[str, Any],
        console: Console | None = None,
    ) -> Outcome:
        """Trains to the end or until interrupted.

        Args:
          target: the run's folder, held and claimed.
          interrupts: entered.
          provenance: `checkpoints.provenance.describe_run`, for the policy's bundle.
          console: where progress goes.
        """
        trainer = self._trainer()
        batches = iter(self._batches("train", training=True))
        state = TrainState(trainer.state(), batches)
        store = CheckpointStore(
            target.run_dir / run_folder.CHECKPOINTS,
            keep_last=self.config.run.keep_last,
            keep_best=self.config.run.keep_best,
            attached={run_folder.RUN_JSON: provenance},
        )
        store.sweep()
        atomic.sweep(target.run_dir)
        position = _restore(target, store, state, facts=provenance)
        if position.step == 0:
            self._prepare_weights(trainer, provenance)
        telemetry = Telemetry(self._sinks(target.run_dir, console))
        publish = self._publisher(target.run_dir / run_folder.POLICY, trainer, provenance)
        parts = Parts(
            trainer=trainer,
            state=state,
            batches=batches,
            validation=self._validation(),
            store=store,
            telemetry=telemetry,
            interrupts=interrupts,
            publish_policy=publish,
            learning_rate=lambda: float(trainer.updater.optimizer.learning_rate),
            freeze_step=self._freeze_step(),
        )
        loop = Loop(
            parts, self.config.run, stopping=self.config.stopping, horizon=self.plan.horizon
        )
        try:
            telemetry.write("start", step=position.step, seed=self.config.run.seed)
            with self._named_shards():
                outcome = loop.run(position)
            if atomic.problems(target.run_dir / run_folder.POLICY):
                # None yet, or damaged: the best checkpoint's, or that of an interrupted run.
                best = None if outcome.reason == "interrupted" else store.best()
                if best is not None:
                    state.read(best.path, with_data=False)
                publish(outcome.position)
        finally:
            telemetry.close()
        return outcome

    def _trainer(self) -> Imitation:
        config = self.config
        weight = losses.button_weights(config.loss.button_pos_weight, self._press_rates())
        variables = self.policy.trainable_variables
        optimizer = build_optimizer(config.optimizer, self.schedule, variables)
        updater = Updater(variables, optimizer, config.optimizer)
        options = StepOptions(config.loss, weight, config.run.jit, self.soft_loss)
        return Imitation(self.policy, updater, options)

    def _prepare_weights(self, trainer: Imitation, provenance: dict[str, Any]) -> None:
        """Weights of another run, if one was given, and first ranges of what is quantized."""
        tuning = self.config.fine_tune
        if tuning.init_from is not None:
            bundle = run_folder.find_bundle(Path(tuning.init_from))
            info = bundles.start_from(self.policy, bundle)
            provenance["init_from"] = {
                "weights_sha256": atomic.sha256(bundle / bundles.WEIGHTS),
                "results": info.provenance.get("results"),
            }
            trainer.updater.restart_averages()
        if self.policy.config.quantization.rounding == "moving_average":
            with self._named_shards():
                batches = self._batches("train", training=True)
                calibrate(self.policy, batches.take(tuning.calibration_batches))

    def _freeze_step(self) -> int | None:
        if self.policy.config.quantization.rounding != "moving_average":
            return None
        return math.ceil(self.config.fine_tune.freeze_ranges * self.plan.horizon.total_steps)

    def _press_rates(self) -> list[float]:
        rates = self.manifest.stats["train"].press_rates()
        return [rates[name] for name in BUTTONS]

    def _batches(self, split: str, *, training: bool) -> tf.data.Dataset:
        # The input graph has no Python control flow: converting it would only cost seconds.
        return tf.autograph.experimental.do_not_convert(data_input.build)(
            self.manifest,
            self.config.input,
            folder=self.data_dir,
            split=split,
            batch_size=self.config.run.batch_size,
            seed=_seed(self.config),
            training=training,
        )

    def _epoch_size(self, split: str, *, training: bool) -> EpochSize:
        return data_input.epoch_size(
            self.manifest,
            self.config.input,
            folder=self.data_dir,
            split=split,
            batch_size=self.config.run.batch_size,
            seed=_seed(self.config),
            training=training,
        )

    @contextlib.contextmanager
    def _named_shards(self) -> Iterator[None]:
        """Errors about damaged shards name the shard."""
        with contextlib.ExitStack() as stack:
            for split in ("train", "validation")[: 1 + self.has_validation]:
                named = data_input.named_shard_errors(
                    self.manifest, folder=self.data_dir, split=split
                )
                stack.enter_context(named)
            yield

    def _validation(self) -> Callable[[], Iterable[Batch]] | None:
        if not self.has_validation:
            return None
        dataset = self._batches("validation", training=False)
        return lambda: dataset

    def _known_players(self) -> KnownPlayers | None:
        """Whose styles the policy learns; None if it learns none."""
        if not self.policy.config.embedding.learn_player_styles:
            return None
        ids = {entry.player: entry.id for entry in self.manifest.players}
        return KnownPlayers(ids, str(self.manifest.config.get("pseudonyms", "")))

    def _publisher(
        self, folder: Path, trainer: Imitation, provenance: dict[str, Any]
    ) -> Callable[[Position], None]:
        delays = self.config.input.delays(training=True)
        info = PolicyInfo(
            config=self.policy.config,
            delay=Delay(self.config.input.frame_delay, *delays),
            weights="ema" if self.config.optimizer.ema else "raw",
            window_size=self.config.input.window_size,
            players=self._known_players(),
        )

        def publish(position: Position) -> None:
            results = {"step": position.step, "progress": position.progress.to_dict()}
            with trainer.updater.averaged():
                stamped = dataclasses.replace(info, provenance=provenance | {"results": results})
                bundles.save_policy(folder, self.policy, stamped)

        return publish

    def _sinks(self, run_dir: Path, console: Console | None) -> list[Sink]:
        run, hparams = self.config.run, to_dict(self.config)
        makers: list[Callable[[], Sink]] = [
            lambda: ConsoleSink(
                self.plan.horizon.total_steps, verbosity=run.verbosity, console=console
            ),
            lambda: JsonLines(run_dir / run_folder.LOG),
            lambda: TensorBoard(run_dir / run_folder.TENSORBOARD, hparams),
        ]
        if run.wandb:
            makers.append(
                lambda: WandB(
                    run_dir, project=run.wandb_project, name=run_dir.name, hparams=hparams
                )
            )
        return list(_made(makers))


def _made(makers: Iterable[Callable[[], Sink]]) -> Iterator[Sink]:
    for make in makers:
        try:
            yield make()
        except Exception as error:
            _log.warning("%s: %s; training goes on without it", type(error).__name__, error)


def _restore(
    target: Target, store: CheckpointStore, state: TrainState, *, facts: dict[str, Any]
) -> Position:
    if not target.is_resuming:
        return Position()
    checkpoint = _checkpoint_of(target, store)
    if checkpoint is None:
        return Position()
    # Its own copy, as the run's files may have been changed together.
    started = run_folder.read_json(checkpoint.path / run_folder.RUN_JSON)
    run_folder.check_same(target.run_dir, started, facts)
    try:
        position = Position.from_dict(checkpoint.meta["position"])
        if position.step != checkpoint.step:
            raise ValueError(f"want position.step {checkpoint.step}. Received: {position.step}")
        state.read(checkpoint.path)
        return position
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{checkpoint.path}: cannot be resumed: {error}",
            "Start a new run, or use the release that wrote it.",
            exit_code=EXIT_INCOMPATIBLE,
        ) from error


def _checkpoint_of(target: Target, store: CheckpointStore) -> Checkpoint | None:
    if target.checkpoint is None:
        return store.latest(quarantine=True)
    try:
        return open_checkpoint(target.checkpoint)
    except ValueError as error:
        raise UserError(str(error), "Try --resume auto.", exit_code=EXIT_NO_INPUT) from error


def _seed(config: TrainConfig) -> int:
    if config.run.seed is None:
        raise ValueError("run.seed: want a number once a run starts. Received: None")
    return config.run.seed

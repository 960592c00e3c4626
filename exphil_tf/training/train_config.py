"""The root of `python -m exphil_tf.train`: every part's own dataclass, and the checks between them.

Free of TensorFlow, like all it is composed of.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from exphil_tf.data.input_config import InputConfig
from exphil_tf.foundation.config import to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.records.integrity import VerifyData
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_config import (
    FineTuneConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StoppingConfig,
)
from exphil_tf.training.stick_centres import read_centres
from exphil_tf.training.value_config import ValueConfig
from models.policy_config import (
    BackboneConfig,
    EmbeddingConfig,
    HeadConfig,
    PolicyConfig,
    QuantizationConfig,
)


@dataclass(frozen=True)
class DataConfig:
    """What is learnt from: replays, or a dataset made of them."""

    replays: tuple[str, ...] = ()
    """Folders, .slp files, zips or tars; preprocessed first, once per content and options."""
    data: str | None = None
    """Folder of a finished dataset (`python -m exphil_tf.preprocess`), instead of replays."""
    datasets_dir: str = "datasets"
    """Where datasets made of --replays are kept, by content."""
    max_files: int | None = None
    """At most this many games of --replays."""
    verify_data: VerifyData = "once"
    """How shards are compared with their manifest: contents `once` as long as a file stays as it
    is, `always`, or `sizes` only."""


@dataclass(frozen=True)
class ColumnsConfig(EmbeddingConfig):
    """The embedding, without what follows from the dataset."""

    unrecorded: int = field(default=0, init=False)


@dataclass(frozen=True)
class TrunkConfig(BackboneConfig):
    """The trunk, without what follows from other options."""

    window_size: int = field(default=60, init=False)


@dataclass(frozen=True)
class ControllerConfig(HeadConfig):
    """The controller's head, without what follows from other options."""

    axis_centres: tuple[float, ...] = field(default=(), init=False)


@dataclass(frozen=True)
class ModelConfig:
    """Choices that decide fields of several parts of the network."""

    temporal: bool | None = None
    """Whether the policy has memory; none leaves it to the backbone, no-temporal means mlp."""
    kmeans_centers: str | None = None
    """File of stick centres (`python -m exphil_tf.kmeans`) to use instead of an even grid."""


@dataclass(frozen=True)
class TrainConfig:
    """Trains a policy from Slippi replays, or from a dataset made of them."""

    data: DataConfig = field(default_factory=DataConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    input: InputConfig = field(default_factory=InputConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    embedding: ColumnsConfig = field(default_factory=ColumnsConfig)
    backbone: TrunkConfig = field(default_factory=TrunkConfig)
    head: ControllerConfig = field(default_factory=ControllerConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def policy(self, unrecorded: int = 0) -> PolicyConfig:
        """The network: its parts, with the unroll's length as attention window, and the centres.

        Args:
          unrecorded: `Manifest.unrecorded()`.

        Raises: UserError: if the file of stick centres is missing or not one.
        """
        trunk: dict[str, Any] = _plain(self.backbone)
        trunk["window_size"] = self.input.window_size
        head = _plain(self.head)
        if self.model.kmeans_centers is not None:
            centres = read_centres(Path(self.model.kmeans_centers))
            head |= {"axis_centres": centres, "axis_buckets": len(centres)}
        trunk_config, head_config = BackboneConfig(**trunk), HeadConfig(**head)
        columns: dict[str, Any] = _plain(self.embedding)
        columns["unrecorded"] = unrecorded
        embedding = EmbeddingConfig(**columns)
        return PolicyConfig(embedding, trunk_config, head_config, self.quantization)

    def imitation(self, unrecorded: int = 0) -> ImitationConfig:
        """What the learner and its data are built from; arguments and errors as of `policy`."""
        return ImitationConfig(
            policy=self.policy(unrecorded),
            input=self.input,
            loss=self.loss,
            optimizer=self.optimizer,
            schedule=self.schedule,
            fine_tune=self.fine_tune,
            run=self.run,
            value=self.value,
        )


Config = TypeVar("Config", bound=TrainConfig)
"""Of `train`, or of a command that adds to its options."""


def resolve(config: Config) -> tuple[Config, list[str]]:
    """Follows one option's consequences for others.

    Returns: the configuration to use, and one sentence for everything that was changed, or that has
      no effect although it was asked for.

    Raises: UserError: if options contradict each other.
    """
    if bool(config.data.replays) == (config.data.data is not None):
        given = "both" if config.data.replays else "neither"
        raise UserError(
            f"--replays and --data: want one of them. Received: {given}",
            "Give --replays DIR with .slp files, or --data DIR with a dataset. No replays? "
            "python -m exphil_tf.samples makes some.",
        )
    _check_value(config)
    config, notes = _resolve_temporal(config)
    return config, [*notes, *(text for applies, text in _remarks(config) if applies)]


_NOT_VALIDATED = (
    "this dataset has no validation games: the policy that is kept is that of the lowest training "
    "loss, which tells nothing about other games; preprocess more of them, or with --val-split"
)


def check_dataset(config: TrainConfig, manifest: Manifest) -> list[str]:
    """Compares options of preprocessing with those that a dataset was made with.

    Returns: sentences about options that this dataset decides.

    Raises: UserError: if training would silently use other games or players than asked for.
    """
    notes = [] if manifest.frames("validation") else [_NOT_VALIDATED]
    if config.data.data is None:
        return notes
    asked = to_dict(config)
    names = [*options(FilterConfig), *options(SplitConfig), "max_files"]
    plain = to_dict(TrainConfig())
    differing = [
        name
        for name in names
        if name in manifest.config and asked[name] not in (plain[name], manifest.config[name])
    ]
    for name in differing:
        flag = "--" + name.replace("_", "-")
        made = f"this dataset was made with {manifest.config[name]!r}"
        if name not in _SHARES:
            raise UserError(
                f"{flag}: {made}. Received: {asked[name]!r}",
                f"Preprocess with {flag}, or give --replays instead of --data.",
            )
        notes.append(f"{flag} {asked[name]} has no effect: {made}")
    return notes


_SHARES = ("val_split", "test_split", "split_salt", "max_files")
"""Options that change how much is learnt from, but not from whom."""


def _resolve_temporal(config: Config) -> tuple[Config, list[str]]:
    backbone, temporal = config.backbone.backbone, config.model.temporal
    if temporal is False and backbone != "mlp":
        trunk = dataclasses.replace(config.backbone, backbone="mlp")
        model = dataclasses.replace(config.model, temporal=None)
        changed = dataclasses.replace(config, backbone=trunk, model=model)
        return changed, [f"no-temporal: the backbone is mlp, not {backbone}"]
    if temporal and backbone == "mlp":
        raise UserError(
            "--temporal: an mlp has no memory",
            "Choose --backbone mamba, lstm or sliding_window, or --no-temporal.",
        )
    return config, []


def _check_value(config: TrainConfig) -> None:
    """Refuses unrolls without a frame that has a return."""
    lacks = config.input.window_size < 2 or config.input.loss_frames == "last"
    if config.value.value_head and lacks:
        raise UserError(
            "--value-head: the last frame of an unroll has no return to learn, and no other counts",
            "Give --loss-frames all and a --window-size of at least 2, or no --value-head.",
        )


def _remarks(config: TrainConfig) -> list[tuple[bool, str]]:
    """Advice, and options without effect: (whether it applies, sentence)."""
    trunk, window = config.backbone, config.input.window_size
    is_mlp = trunk.backbone == "mlp"
    delays = config.input.delays(training=True)
    loss, optimizer, schedule = config.loss, config.optimizer, config.schedule
    tuning, qat = config.fine_tune, config.quantization.qat
    return [
        (
            not qat and config.quantization != QuantizationConfig(),
            "no-quantize-embeddings and qat_activations have no effect without --qat",
        ),
        (
            config.quantization.rounding != "moving_average"
            and tuning != FineTuneConfig(init_from=tuning.init_from),
            "calibration_batches and freeze_ranges have no effect without --qat --qat-activations "
            "moving_average",
        ),
        (
            qat and tuning.init_from is None,
            "qat from scratch: fine-tuning a finished run (--init-from RUN) is shorter",
        ),
        (
            not config.value.value_head and config.value != ValueConfig(),
            "value_hidden, value_half_life, value_weight and value_in_bundle have no effect "
            "without --value-head",
        ),
        (window > 120, f"window_size {window} is above 120: memory and time grow with it"),
        (window < 30 and not is_mlp, f"window_size {window} is short for a policy with memory"),
        (trunk.truncate_bptt is not None and is_mlp, "truncate_bptt has no effect on an mlp"),
        (trunk.layer_norm and not is_mlp, "layer_norm has no effect: only an mlp has the choice"),
        (trunk.residual and not is_mlp, "residual has no effect: only an mlp has the choice"),
        (
            config.stopping.early_stopping and config.splits.val_split == 0,
            "early_stopping goes by the training loss, as val_split is 0",
        ),
        (
            loss.label_smoothing > 0 and loss.button_pos_weight != "1",
            "label_smoothing leaves out the buttons that have a button_pos_weight",
        ),
        (
            not delays[0] <= config.input.frame_delay <= delays[1],
            f"frame_delay {config.input.frame_delay}, by which validation and play go, is outside "
            f"the trained delays {delays[0]} to {delays[1]}",
        ),
        (
            schedule.decay_steps is not None
            and schedule.lr_schedule in ("constant", "cosine_restarts", "exponential"),
            f"decay_steps has no effect on the {schedule.lr_schedule} schedule",
        ),
        (
            optimizer.weight_decay not in (0, OptimizerConfig().weight_decay)
            and optimizer.optimizer not in ("adamw", "lamb"),
            f"weight_decay has no effect on {optimizer.optimizer}: choose adamw",
        ),
        (
            config.embedding.learn_player_styles and config.input.balance_characters,
            "balance_characters weighs by character only, not by player",
        ),
    ]


def _plain(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}

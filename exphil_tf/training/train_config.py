"""The root of `python -m exphil_tf.train`: every part's own dataclass, and the checks between them.

Free of TensorFlow, like all it is composed of.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from exphil_tf.data.condition_source import ConditionSource
from exphil_tf.data.input_config import InputConfig, VariantConfig
from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.foundation.config import to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.foundation.options import options
from exphil_tf.foundation.values import Source
from exphil_tf.preprocessing.reject_config import RejectConfig
from exphil_tf.records.integrity import VerifyData
from exphil_tf.records.manifest import Manifest
from exphil_tf.records.stick_centres import read_centres
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.condition_config import ConditionConfig
from exphil_tf.training.devices import parse_devices
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_config import (
    FineTuneConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StoppingConfig,
)
from exphil_tf.training.value_config import ValueConfig
from models.backbones import backbone_family
from models.policy_config import (
    BackboneConfig,
    EmbeddingConfig,
    HeadConfig,
    PolicyConfig,
    QuantizationConfig,
)

REPLAYS = "replays"
"""Folder of replays where nothing else is said."""


@dataclass(frozen=True)
class DataConfig:
    """What is learnt from: replays, or a dataset made of them."""

    KIND: ClassVar = Kind.SOURCE

    replays: tuple[str, ...] = ()
    """Folders, .slp files, zips or tars; preprocessed first, once per content and options. The
    folder ./replays if it is there and no dataset is given."""
    data: str | None = None
    """Folder of a finished dataset (`python -m exphil_tf.preprocess`), instead of replays."""
    datasets_dir: str = option("datasets", kind=Kind.WORK, only_with={"data": None})
    """Where datasets made of --replays are kept, by content."""
    max_files: int | None = option(None, kind=Kind.SHARE)
    """At most this many games of --replays."""
    rejects: RejectConfig = field(default_factory=RejectConfig)
    verify_data: VerifyData = option("once", kind=Kind.WORK)
    """How shards are compared with their manifest: contents `once` as long as a file stays as it
    is, `always`, or `sizes` only."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if self.max_files is not None and self.max_files < 1:
            raise ValueError(f"max_files: want at least 1. Received: {self.max_files}")


@dataclass(frozen=True)
class ModelConfig:
    """Choices that decide fields of several parts of the network."""

    KIND: ClassVar = Kind.NETWORK

    temporal: bool | None = None
    """Whether the policy has memory: temporal means lstm unless a backbone with memory is named,
    no-temporal means mlp, none leaves it to the backbone."""
    kmeans_centers: str | None = None
    """File of stick centres (`python -m exphil_tf.kmeans`) to use instead of an even grid."""


@dataclass(frozen=True)
class TrainConfig:
    """Trains a policy from Slippi replays, or from a dataset made of them."""

    data: DataConfig = field(default_factory=DataConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    input: InputConfig = field(default_factory=InputConfig)
    variants: VariantConfig = field(default_factory=VariantConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    conditions: ConditionConfig = field(default_factory=ConditionConfig)
    backbone: BackboneConfig = backbone_family()
    head: HeadConfig = field(default_factory=HeadConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    run: RunConfig = field(default_factory=RunConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)

    def policy(self, unrecorded: int = 0) -> PolicyConfig:
        """The network: its parts, with the unroll's length as attention window, and the centres.

        Args:
          unrecorded: `Manifest.unrecorded()`.

        Raises: UserError: if the file of stick centres is missing or not one.
        """
        head = self.head
        if self.model.kmeans_centers is not None:
            centres = read_centres(Path(self.model.kmeans_centers))
            head = dataclasses.replace(head, axis_centres=centres, axis_buckets=len(centres))
        embedding = dataclasses.replace(
            self.embedding, unrecorded=unrecorded, with_delay=self.tells_delay
        )
        return PolicyConfig(
            embedding,
            self.backbone.for_unroll(self.input.window_size),
            head,
            self.quantization,
        )

    @property
    def tells_delay(self) -> bool:
        """Whether the policy is told the delay: as asked, else where it is drawn."""
        asked = self.conditions.condition_on_delay
        low, high = self.input.delays(training=True)
        return low < high if asked is None else asked

    @property
    def may_carry(self) -> bool:
        """Whether memory can go on from unroll to unroll."""
        is_cut = self.input.cuts_unrolls or bool(parse_devices(self.run.devices))
        return self.backbone.has_memory and not is_cut

    def imitation(
        self,
        unrecorded: int = 0,
        *,
        players: KnownPlayers | None = None,
        player_ids: tuple[int, ...] | None = None,
    ) -> ImitationConfig:
        """What the learner and its data are built from; errors as of `policy`.

        Args:
          unrecorded: `Manifest.unrecorded()`.
          players: whose styles are learnt; None for all of the dataset's, under its ids.
          player_ids: their ids for those of the dataset; None for the same.
        """
        policy = self.policy(unrecorded)
        may_hide = any(CONDITIONS[name].may_lack for name in policy.embedding.conditions)
        told = ConditionSource(
            player_ids,
            policy.embedding.return_levels,
            dropout=self.conditions.condition_dropout if may_hide else 0.0,
        )
        return ImitationConfig(
            policy=policy,
            input=dataclasses.replace(self.input, conditions=told),
            loss=self.loss,
            optimizer=self.optimizer,
            schedule=self.schedule,
            fine_tune=self.fine_tune,
            run=self.run,
            value=self.value,
            players=players,
        )


if TYPE_CHECKING:
    from exphil_tf.training.distill_config import SoftLabelsConfig

Config = TypeVar("Config", bound=TrainConfig)
"""Of `train`, or of a command that adds to its options."""


def resolve(config: Config) -> tuple[Config, list[str]]:
    """Follows one option's consequences for others.

    Returns: the configuration to use, and one sentence for everything that was changed, or that may
      not be what was meant.

    Raises: UserError: if options contradict each other.
    """
    config = dataclasses.replace(config, data=found_data(config.data))
    if config.input.carry_state is None:
        reading = dataclasses.replace(config.input, carry_state=config.may_carry)
        config = dataclasses.replace(config, input=reading)
    _check_value(config)
    # Said outright, a run that starts from this one's weights has its network whatever it draws.
    told = dataclasses.replace(config.conditions, condition_on_delay=config.tells_delay)
    config = dataclasses.replace(config, conditions=told)
    _check_carried(config)
    _check_devices(config)
    config.cloud.check()
    config = _with_saves(config)
    config, notes = _resolve_temporal(config)
    return config, [*notes, *(text for applies, text in _remarks(config) if applies)]


def found_data(data: DataConfig) -> DataConfig:
    """The replays or the dataset that was given; else the folder of replays that is here.

    Raises: UserError: if there is nothing, or both.
    """
    if not data.replays and data.data is None and Path(REPLAYS).is_dir():
        return dataclasses.replace(data, replays=(REPLAYS,))
    if bool(data.replays) == (data.data is not None):
        given = "both" if data.replays else "neither"
        raise UserError(
            f"--replays and --data: want one of them. Received: {given}",
            f"Give --replays DIR with .slp files (./{REPLAYS} if it is there), or --data DIR with "
            "a dataset. No replays? python -m exphil_tf.samples makes some.",
        )
    return data


def _with_saves(config: Config) -> Config:
    """The configuration with save_every_batches in updates."""
    run = config.run
    if run.save_every_batches is None:
        return config
    updates = max(1, run.save_every_batches // config.optimizer.accumulation_steps)
    every = min(run.save_every_steps or updates, updates)
    return dataclasses.replace(config, run=dataclasses.replace(run, save_every_steps=every))


_NOT_VALIDATED = (
    "this dataset has no validation games: the policy that is kept is that of the lowest training "
    "loss, which tells nothing about other games; preprocess more of them, or with --val-split"
)


def check_dataset(
    config: "TrainConfig | SoftLabelsConfig", manifest: Manifest, *, given: Mapping[str, Source]
) -> list[str]:
    """Compares options of preprocessing with those that a dataset was made with.

    Args:
      config: resolved.
      manifest: of the dataset.
      given: options that were asked for, at their default or not.

    Returns: sentences about options that this dataset decides.

    Raises: UserError: if training would silently use other games or players than asked for.
    """
    notes = [] if manifest.frames("validation") else [_NOT_VALIDATED]
    if config.data.data is None:
        return notes
    asked, made = to_dict(config), manifest.config
    for name, known in options(type(config)).items():
        is_decided = known.kind is not None and known.kind.is_content and name in made
        if not is_decided or name not in given or asked[name] == made[name]:
            continue
        said = f"this dataset was made with {made[name]!r}"
        if known.kind is Kind.GAMES:
            raise UserError(
                f"{given[name].origin}: {said}. Received: {asked[name]!r}",
                f"Preprocess with {known.flag}, or give --replays instead of --data.",
            )
        notes.append(f"{known.flag} {asked[name]} has no effect: {said}")
    return notes


def _resolve_temporal(config: Config) -> tuple[Config, list[str]]:
    """Says which backbone there is, where memory was asked for or not."""
    asked, backbone = config.model.temporal, config.backbone
    if asked is False:
        model = dataclasses.replace(config.model, temporal=None)
        changed = dataclasses.replace(config, model=model)
        return changed, [f"no-temporal: the backbone is {backbone.backbone}"]
    if asked and not backbone.has_memory:
        return config, [
            f"temporal: {backbone.backbone} has no memory and answers each frame by itself; "
            "other backbones remember, such as --backbone lstm"
        ]
    return config, []


def _check_value(config: TrainConfig) -> None:
    """Refuses unrolls without a frame that has a return."""
    lacks = config.input.window_size < 2 or config.input.loss_frames == "last"
    if config.value.value_head and lacks:
        raise UserError(
            "--value-head: the last frame of an unroll has no return to learn, and no other counts",
            "Give --loss-frames all and a --window-size of at least 2, or no --value-head.",
        )


def _check_carried(config: TrainConfig) -> None:
    """Refuses to carry what is not there."""
    if config.input.carry_state and not config.backbone.has_memory:
        raise UserError(
            f"--carry-state: {config.backbone.backbone} has no memory",
            "Leave the option out, or choose another --backbone.",
        )


def _check_devices(config: TrainConfig) -> None:
    """Refuses what several devices could not learn as one does."""
    if not parse_devices(config.run.devices):
        return
    if config.input.carry_state:
        raise UserError(
            "--devices: memory that is carried from batch to batch stays on one device",
            "Give --no-carry-state, or leave --devices out.",
        )
    if config.quantization.rounding == "moving_average":
        raise UserError(
            "--devices: activation ranges follow the extremes of whole batches, of which each "
            "device sees a share",
            "Give --qat-activations dynamic, or leave --devices out.",
        )
    if config.value.value_head and not config.value.value_weight:
        raise UserError(
            "--devices: a value head beside the policy learns on one device",
            "Give a --value-weight above 0, which joins it to the policy's loss, or leave "
            "--devices out.",
        )


def _remarks(config: TrainConfig) -> list[tuple[bool, str]]:
    """Advice: (whether it applies, sentence)."""
    window, delays = config.input.window_size, config.input.delays(training=True)
    truncated = getattr(config.backbone, "truncate_bptt", None)  # of those with memory
    return [
        (
            config.quantization.qat and config.fine_tune.init_from is None,
            "qat from scratch: fine-tuning a finished run (--init-from RUN) is shorter",
        ),
        (
            (truncated or 0) >= window,
            f"truncate_bptt {truncated} cuts nothing of unrolls of {window} frames",
        ),
        (window > 120, f"window_size {window} is above 120: memory and time grow with it"),
        (
            window < 30 and config.backbone.has_memory,
            f"window_size {window} is short for a policy with memory",
        ),
        (
            config.stopping.early_stopping and config.splits.val_split == 0,
            "early_stopping goes by the training loss, as val_split is 0",
        ),
        (
            config.loss.label_smoothing > 0 and config.loss.button_pos_weight != "1",
            "label_smoothing leaves out the buttons that have a button_pos_weight",
        ),
        (
            not delays[0] <= config.input.frame_delay <= delays[1],
            f"frame_delay {config.input.frame_delay}, by which validation and play go, is outside "
            f"the trained delays {delays[0]} to {delays[1]}",
        ),
        (
            config.embedding.learn_player_styles and config.input.balance_characters,
            "balance_characters weighs by character only, not by player",
        ),
    ]

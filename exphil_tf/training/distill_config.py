"""The roots of `exphil_tf.distill` and `exphil_tf.generate_soft_labels`; free of TensorFlow.

A student has every option of training: its network, data, schedule and run are `TrainConfig`'s own
dataclasses, with a small network as the default. `--student-hidden` and `--student-backbone` are
other names of `--hidden` and `--backbone`.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from exphil_tf.data.input_config import InputConfig
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.foundation.options import options
from exphil_tf.foundation.values import Source
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.training.run_config import MAX_SEED
from exphil_tf.training.train_config import Config, DataConfig, TrainConfig
from models.backbones import backbone_family
from models.policy_config import BackboneConfig


@dataclass(frozen=True)
class DistillationConfig:
    """Who teaches, and how much of the loss is the teacher's."""

    KIND: ClassVar = Kind.TRAINING

    teacher: str | None = option(None, kind=Kind.SOURCE)
    """Folder of the teacher's run, or of its policy bundle; it answers while the student trains."""
    soft_labels: str | None = option(None, kind=Kind.SOURCE)
    """Folder of stored answers (`python -m exphil_tf.generate_soft_labels`) to train from instead;
    a --teacher beside it is checked to be the one that answered, and shows up in --compare."""
    alpha: float = 0.7
    """Share of the teacher in the loss; 1 - alpha is what the human did. 0 is plain training."""
    temperature: float = 1.0
    """Logits of teacher and student are divided by this before they are compared; above 1, unlikely
    actions count more."""
    compare: bool = option(False, kind=Kind.WORK)
    """Also train the same student without the teacher, on the same batches, and measure both and
    the teacher on the validation split."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha: want 0 <= x <= 1. Received: {self.alpha}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature: want a positive number. Received: {self.temperature}")


@dataclass(frozen=True)
class DistillConfig(TrainConfig):
    """Trains a small policy, the student, to answer as a trained one, the teacher, does.

    The student is described by the options of training: --student-hidden and --student-backbone are
    --hidden and --backbone.
    """

    backbone: BackboneConfig = backbone_family("mlp", doc="The student's backbone", hidden=(64, 64))
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    @property
    def may_carry(self) -> bool:
        """See the base class; stored answers are of unrolls by themselves."""
        return super().may_carry and self.distillation.soft_labels is None


@dataclass(frozen=True)
class SoftLabelsConfig:
    """Stores a teacher's answers to the training split, for `python -m exphil_tf.distill`."""

    KIND: ClassVar = Kind.RESULT

    teacher: Path
    """Folder of the teacher's run, or of its policy bundle."""
    output: Path
    """Folder for the answers; finished ones of the same teacher, data and options are kept."""
    passes: int = 1
    """Passes over the training split; more only pay with --augment, each pass being drawn anew."""
    batch_size: int = 64
    """Unrolls at a time."""
    seed: int = 0
    """Decides order, delays and augmentation."""
    overwrite: bool = False
    """Replace answers of another teacher, other data or options in the same folder."""
    jit: bool = True
    """Compile with XLA: slower to start, faster from then on."""
    data: DataConfig = field(default_factory=DataConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    input: InputConfig = field(default_factory=InputConfig)

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name in ("passes", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed: want 0 <= x < 2**31. Received: {self.seed}")


def check_soft_labels(config: SoftLabelsConfig) -> None:
    """Refuses to answer in the order of games what students read in any order.

    Raises: UserError: if memory is to be carried.
    """
    if config.input.carry_state:
        raise UserError(
            "--carry-state: soft labels are of unrolls by themselves, as students shuffle them",
            "Leave it out; a --teacher that answers while the student trains carries memory.",
        )


def check_distillation(config: DistillConfig) -> list[str]:
    """Sentences about options without effect.

    Raises: UserError: if nobody teaches, or there is nothing to compare.
    """
    asked = config.distillation
    if asked.teacher is None and asked.soft_labels is None:
        raise UserError(
            "--teacher: want the folder of a run. Received: nothing",
            "Train a teacher first: python -m exphil_tf.train.",
        )
    if config.run.auto_batch_size:
        raise UserError(
            "--auto-batch-size: measures training without a teacher, who takes memory too",
            "Choose --batch-size.",
        )
    if asked.compare and asked.alpha == 0:
        raise UserError(
            "--compare: with --alpha 0 nobody teaches, and both students would be the same",
            "Choose a larger --alpha.",
        )
    notes = []
    if asked.alpha == 0:
        notes.append("alpha 0: the teacher has no effect; this is plain training")
    return notes


def with_input_of(
    config: Config, stored: Mapping[str, Any], *, origin: str, given: Mapping[str, Source]
) -> Config:
    """The configuration with the input options that soft labels were made with.

    The order in which unrolls come is the run's own.

    Args:
      config: options that were not given take the stored value.
      stored: every field of `InputConfig` by name.
      origin: what an error calls the labels.
      given: options that were asked for.

    Raises: UserError: if an option was given and is another one (78).
    """
    known = options(InputConfig)
    taken = {
        name: value
        for name, value in stored.items()
        if known[name].kind is not Kind.ORDER and getattr(config.input, name) != value
    }
    for name, value in taken.items():
        if name in given:
            raise UserError(
                f"{given[name].origin}: {origin} was made with {value}. "
                f"Received: {getattr(config.input, name)}",
                "Leave the option out, or generate soft labels with it.",
                exit_code=EXIT_INCOMPATIBLE,
            )
    return dataclasses.replace(config, input=dataclasses.replace(config.input, **taken))

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
from typing import Any

from exphil_tf.data.input_config import InputConfig
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE
from exphil_tf.training.run_config import MAX_SEED
from exphil_tf.training.train_config import Config, TrainConfig, TrunkConfig
from models.policy_config import BackboneName

ORDER = ("block_records", "shuffle_records", "shuffle_files")
"""Input options that decide in what order unrolls come, and nothing about them."""


@dataclass(frozen=True)
class StudentConfig(TrunkConfig):
    """The student's trunk: small unless told otherwise."""

    backbone: BackboneName = "mlp"
    """The student's trunk: mlp (no memory), lstm, mamba, or sliding_window attention."""
    hidden: tuple[int, ...] = (64, 64)
    """MLP layer widths; a temporal trunk's width is the first entry."""


@dataclass(frozen=True)
class DistillationConfig:
    """Who teaches, and how much of the loss is the teacher's."""

    teacher: str | None = None
    """Folder of the teacher's run, or of its policy bundle; it answers while the student trains."""
    soft_labels: str | None = None
    """Folder of stored answers (`python -m exphil_tf.generate_soft_labels`) to train from instead;
    a --teacher beside it is checked to be the one that answered, and shows up in --compare."""
    alpha: float = 0.7
    """Share of the teacher in the loss; 1 - alpha is what the human did. 0 is plain training."""
    temperature: float = 1.0
    """Logits of teacher and student are divided by this before they are compared; above 1, unlikely
    actions count more."""
    compare: bool = False
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

    backbone: StudentConfig = field(default_factory=StudentConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)


@dataclass(frozen=True)
class SoftLabelsConfig:
    """Stores a teacher's answers to the training split, for `python -m exphil_tf.distill`."""

    teacher: Path
    """Folder of the teacher's run, or of its policy bundle."""
    data: Path
    """Folder of a dataset (`python -m exphil_tf.preprocess`)."""
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
    input: InputConfig = field(default_factory=InputConfig)

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name in ("passes", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed: want 0 <= x < 2**31. Received: {self.seed}")


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
    config: Config, stored: Mapping[str, Any], *, origin: str, free: tuple[str, ...] = ORDER
) -> Config:
    """The configuration with the input options that soft labels were made with.

    Args:
      config: options that were left alone take the stored value.
      stored: every field of `InputConfig` by name.
      origin: what an error calls the labels.
      free: options that are the run's own.

    Raises: UserError: if an option was given and is another one (78).
    """
    plain = InputConfig()
    taken: dict[str, Any] = {}
    for name, value in stored.items():
        asked = getattr(config.input, name)
        if name in free or asked == value:
            continue
        if asked != getattr(plain, name):
            raise UserError(
                f"--{name.replace('_', '-')}: {origin} was made with {value}. Received: {asked}",
                "Leave the option out, or generate soft labels with it.",
                exit_code=EXIT_INCOMPATIBLE,
            )
        taken[name] = value
    return dataclasses.replace(config, input=dataclasses.replace(config.input, **taken))

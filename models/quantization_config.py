"""Which numbers of a network are kept on 8-bit grids, and the checks that all configurations share.

Apart from `policy_config`, as layers need it and that one names the backbones.
"""

import typing
from dataclasses import dataclass
from typing import ClassVar, Literal

from exphil_tf.foundation.kinds import Kind, option

Rounding = Literal["dynamic", "moving_average"]

LARGEST = 65_536
"""Of any width, table or window: far beyond what can be trained, and small enough to be counted."""


def check_choice(path: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless a value is one of the words."""
    if value not in choices:
        raise ValueError(f"{path}: want one of {', '.join(choices)}. Received: {value!r:.80}")


def check_at_least(path: str, value: int, low: int, *, most: int = LARGEST) -> None:
    """Raises ValueError unless a value is an integer from `low` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{path}: want an integer >= {low}. Received: {value!r:.80}")
    if value > most:
        raise ValueError(f"{path}: want at most {most:,}. Received: {value!r:.80}")


@dataclass(frozen=True)
class QuantizationConfig:
    """Which numbers the network keeps on 8-bit grids."""

    KIND: ClassVar = Kind.TRAINING

    qat: bool = False
    """Quantization-aware: kernels of products on int8 grids per channel, their inputs on 8-bit
    grids."""
    qat_activations: Rounding = option("dynamic", only_with={"qat": True})
    """With qat, grids of inputs: by what is there, in blocks of a row (dynamic, fastest in play),
    or by ranges that follow training and are then frozen (moving_average, for many rows)."""
    quantize_embeddings: bool = option(True, only_with={"qat": True})
    """With qat: learned tables (actions, characters, item types) on int8 grids too."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        choices = typing.get_args(Rounding)
        check_choice("quantization.qat_activations", self.qat_activations, choices)

    @property
    def rounding(self) -> Rounding | None:
        """How inputs of products are rounded; None where nothing is quantized."""
        return self.qat_activations if self.qat else None

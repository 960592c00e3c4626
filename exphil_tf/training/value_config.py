"""Options of learning values beside imitation; free of TensorFlow."""

import math
from dataclasses import dataclass
from typing import ClassVar

from exphil_tf.foundation.kinds import Kind, option

MOST_UNITS = 65_536


@dataclass(frozen=True)
class ValueConfig:
    """What a value head learns from recorded games, as a start for reinforcement learning."""

    KIND: ClassVar = Kind.TRAINING

    win_probability: bool = False
    """Also learn how probable it is that the own player wins, from stocks and percent of both, by a
    fit to the games learnt from. The policy becomes the same as without."""
    value_head: bool = False
    """Also learn how much is still to be gained from each frame on: stocks, and percent / 100.
    With the weight at 0 the policy becomes the same as without."""
    value_hidden: tuple[int, ...] = option((128,), only_with={"value_head": True})
    """Widths of the value head's layers."""
    value_half_life: float = option(240.0, only_with={"value_head": True})
    """Frames after which a gain counts half; 240 are 4 seconds."""
    value_weight: float = option(0.0, only_with={"value_head": True})
    """Weight of the squared error of values in the policy's own loss, so that values shape the
    backbone; 0 lets the backbone be, and the head alone learns."""
    value_in_bundle: bool = option(False, only_with={"value_head": True})
    """Put the value head into the policy's bundle as well; checkpoints have it anyhow."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not self.value_hidden or not all(1 <= n <= MOST_UNITS for n in self.value_hidden):
            raise ValueError(
                f"value_hidden: want widths of 1 to {MOST_UNITS:,}. Received: {self.value_hidden}"
            )
        if not 0 < self.value_half_life < math.inf:
            raise ValueError(f"value_half_life: want above 0. Received: {self.value_half_life}")
        if not 0 <= self.value_weight < math.inf:
            raise ValueError(f"value_weight: want at least 0. Received: {self.value_weight}")

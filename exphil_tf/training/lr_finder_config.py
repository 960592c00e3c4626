"""The root of `exphil_tf.find_lr`; free of TensorFlow."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from exphil_tf.foundation.kinds import Kind
from exphil_tf.training.train_config import TrainConfig


@dataclass(frozen=True)
class LRFinderConfig:
    """How learning rates are tried."""

    KIND: ClassVar = Kind.RESULT

    updates: int = 150
    """Updates over which the learning rate grows from lr_min to lr_max."""
    lr_min: float = 1e-6
    """First learning rate."""
    lr_max: float = 1.0
    """Last learning rate, unless the loss diverges before."""
    output: str = "lr_finder"
    """Folder for the figure (`lr_finder.svg`) and the losses (`lr_finder.json`)."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 10 <= self.updates <= 100_000:
            raise ValueError(f"updates: want 10 to 100000. Received: {self.updates}")
        if not 0 < self.lr_min < self.lr_max < math.inf:
            raise ValueError(
                f"want 0 < lr_min < lr_max. Received: lr_min={self.lr_min}, lr_max={self.lr_max}"
            )


@dataclass(frozen=True)
class FindLRConfig(TrainConfig):
    """Suggests a learning rate: trains briefly while it grows, and watches the loss.

    Takes the options of training, so that its command line can be used as it is. Those of the
    schedule, of a run's length and of its folder have no part in this: no run is made or changed.
    """

    finder: LRFinderConfig = field(default_factory=LRFinderConfig)

"""Frames between a state and the input that answers it, as policies and exports carry them.

`exphil_tf.features.delay_queue` holds the inputs that are on their way meanwhile.
"""

from dataclasses import dataclass, fields

MAX_DELAY = 60
"""Frames: a second, far more than any connection takes."""


@dataclass(frozen=True)
class Delay:
    """Frames between a state and the input that answers it, beyond the 1 that the game takes."""

    frames: int = 0
    """The delay to play with."""
    trained_min: int = 0
    """Least delay seen in training."""
    trained_max: int = 0
    """Greatest delay seen in training."""

    def __post_init__(self) -> None:
        """Raises ValueError naming what is out of range."""
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or not 0 <= value <= MAX_DELAY:
                raise ValueError(
                    f"delay.{field.name}: want 0 to {MAX_DELAY} frames. Received: {value!r:.40}"
                )
        if self.trained_min > self.trained_max:
            raise ValueError(
                f"delay.trained_min: want at most trained_max ({self.trained_max}). "
                f"Received: {self.trained_min}"
            )

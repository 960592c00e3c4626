"""When a run is as good as it gets, and which of its policies was the best."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from exphil_tf.training.run_config import StoppingConfig


@dataclass(frozen=True)
class Progress:
    """Validation so far. Immutable; `after` gives the next."""

    best: float | None = None
    """Lowest loss yet, nats per frame."""
    best_step: int | None = None
    """Optimiser step of `best`."""
    reference: float | None = None
    """Loss that the next one must undercut by min_delta to count as an improvement."""
    waited: int = 0
    """Validations in a row that didn't."""

    def after(self, loss: float, *, step: int, config: StoppingConfig) -> "Progress":
        """Progress after one more validation; NaN is worse than everything."""
        improved = self.reference is None or loss < self.reference - config.min_delta
        is_best = self.best is None or loss < self.best
        if math.isnan(loss):
            improved = is_best = False
        return Progress(
            best=loss if is_best else self.best,
            best_step=step if is_best else self.best_step,
            reference=loss if improved else self.reference,
            waited=0 if improved else self.waited + 1,
        )

    def is_over(self, config: StoppingConfig) -> bool:
        """Whether early stopping ends the run here."""
        return config.early_stopping and self.waited >= config.patience

    def to_dict(self) -> dict[str, Any]:
        """Plain values; floats survive JSON exactly."""
        return dataclasses.asdict(self)

"""When a run is as good as it gets, and which of its policies was the best."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from exphil_tf.training.metric import Metric
from exphil_tf.training.run_config import StoppingConfig


@dataclass(frozen=True)
class Progress:
    """The selecting metric at the epochs' ends so far. Immutable; `after` gives the next."""

    best: float | None = None
    """Best value yet."""
    best_step: int | None = None
    """Optimiser step of `best`."""
    reference: float | None = None
    """Value that the next one must better by min_delta to count as an improvement."""
    waited: int = 0
    """Values in a row that didn't."""

    def after(
        self, value: float, *, step: int, metric: Metric, config: StoppingConfig
    ) -> "Progress":
        """Progress after one more value of a metric; NaN is worse than everything."""
        cost = metric.cost(value)
        reference, best = self._cost(self.reference, metric), self._cost(self.best, metric)
        is_improved = reference is None or cost < reference - config.min_delta
        is_best = best is None or cost < best
        if math.isnan(value):
            is_improved = is_best = False
        return Progress(
            best=value if is_best else self.best,
            best_step=step if is_best else self.best_step,
            reference=value if is_improved else self.reference,
            waited=0 if is_improved else self.waited + 1,
        )

    @staticmethod
    def _cost(value: float | None, metric: Metric) -> float | None:
        return None if value is None else metric.cost(value)

    def is_over(self, config: StoppingConfig) -> bool:
        """Whether early stopping ends the run here."""
        return config.early_stopping and self.waited >= config.patience

    def to_dict(self) -> dict[str, Any]:
        """Plain values; floats survive JSON exactly."""
        return dataclasses.asdict(self)

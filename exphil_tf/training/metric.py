"""What a learner measures: metrics that say themselves how they are called, shown and compared.

Free of TensorFlow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]
"""What was measured, by the names of metrics: a number each, or numbers by component, nested."""


@dataclass(frozen=True)
class Metric:
    """Something that a learner measures: what it is called, how it is shown, what it decides."""

    name: str
    """Key in `Values`, in the log, and in TensorBoard under `train/` and `validation/`."""
    label: str | None = None
    """On the terminal; None leaves it to the log, unless it is selecting. What is measured by
    component is shown after validation only."""
    format: str = ".4f"
    """Of each number on the terminal, as in `format`."""
    lower_is_better: bool = True
    is_selecting: bool = False
    """Whether the best policy is that with the best of this number; so for one metric."""

    @property
    def title(self) -> str:
        """The label, or the name for want of one."""
        return self.label or self.name

    def text(self, value: float) -> str:
        """A number of this metric, as the terminal shows it."""
        return format(value, self.format)

    def best_name(self, *, is_validated: bool) -> str:
        """Of its best value, such as `best nll`, or `lowest training nll` without validation."""
        if is_validated:
            return f"best {self.title}"
        return f"{'lowest' if self.lower_is_better else 'highest'} training {self.title}"

    def cost(self, value: float) -> float:
        """The value, or its negative: lower is better."""
        return value if self.lower_is_better else -value


def selecting(metrics: Sequence[Metric]) -> Metric:
    """The metric that selects the best policy.

    Raises: ValueError: if there is none, or more than one.
    """
    found = [metric for metric in metrics if metric.is_selecting]
    if len(found) != 1:
        names = [metric.name for metric in found]
        raise ValueError(f"metrics: want one that selects the best policy. Received: {names}")
    return found[0]

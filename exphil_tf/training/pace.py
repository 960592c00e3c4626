"""How long the rest of a run takes on this machine, by what its updates and validations took."""

from exphil_tf.training.horizon import Horizon

RECENT = 0.3
"""Weight of what was seen last: another process may come or go."""


class Pace:
    """Seconds per update and per validation, so far.

    Args:
      horizon: of the run.
    """

    def __init__(self, horizon: Horizon):
        self._horizon = horizon
        self._update_s: float | None = None
        self._validation_s: float | None = None

    def saw_updates(self, count: int, *, seconds: float) -> None:
        """Takes in what some updates took, without compilation."""
        if count > 0:
            self._update_s = _moved(self._update_s, seconds / count)

    def saw_validation(self, *, seconds: float) -> None:
        """Takes in what a validation took; the first one compiles, too."""
        self._validation_s = seconds

    def seconds_after(self, step: int) -> float:
        """What is left after update `step`; 0 before anything was seen."""
        updates = self._horizon.total_steps - step
        validations = self._horizon.validations(after=step)
        return updates * (self._update_s or 0.0) + validations * (self._validation_s or 0.0)


def _moved(mean: float | None, value: float) -> float:
    return value if mean is None else (1 - RECENT) * mean + RECENT * value

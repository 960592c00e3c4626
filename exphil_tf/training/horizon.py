"""How long a run is, where its epochs end, and where it is validated."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Horizon:
    """How long a run is, in updates.

    An *epoch* is a pass over a dataset, or, without one, as many updates or frames as the run asks
    for. Where one ends, and every `validate_every` updates, the loop validates, chooses the best
    policy and saves.
    """

    steps_per_epoch: float
    """Updates per epoch; not a whole number, as epochs share batches."""
    total_steps: int
    """Updates of the run."""
    validate_every: int | None = None
    """Updates between validations, besides those at epochs' ends."""

    @classmethod
    def of_epochs(
        cls,
        epochs: int,
        *,
        steps_per_epoch: float,
        min_steps: int | None = None,
        max_steps: int | None = None,
        validate_every: int | None = None,
    ) -> "Horizon":
        """So many epochs of so many updates, but within `min_steps` and `max_steps` updates."""
        total = max(1, round(steps_per_epoch * epochs), min_steps or 1)
        return cls(steps_per_epoch, min(total, max_steps or total), validate_every)

    @classmethod
    def of_frames(cls, frames: int, *, per_update: float, per_epoch: int) -> "Horizon":
        """At least so many frames, given how many an update learns from and an epoch has."""
        return cls(per_epoch / per_update, max(1, math.ceil(frames / per_update)))

    @property
    def epochs(self) -> float:
        """Epochs of the run."""
        return self.epoch_of(self.total_steps)

    def epoch_of(self, step: int) -> float:
        """Epochs done after `step` updates."""
        return step / self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the run, ends with this update."""
        if step <= 0:
            return False
        epoch = round(self.epoch_of(step))
        is_end = epoch >= 1 and step == max(1, round(epoch * self.steps_per_epoch))
        return is_end or step == self.total_steps

    def is_validated(self, step: int) -> bool:
        """Whether the loop validates after this update."""
        every = self.validate_every
        return self.ends_epoch(step) or (step > 0 and every is not None and step % every == 0)

    def validations(self, after: int = 0) -> int:
        """About how many times the loop validates after update `after`."""
        every = self.validate_every or self.total_steps
        epochs = math.ceil(self.epochs) - math.floor(self.epoch_of(after))
        between = (self.total_steps - 1) // every - after // every
        return max(epochs, 0) + max(between, 0)

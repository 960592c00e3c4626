"""How long a run is, and where its epochs end."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Horizon:
    """How long a run is, in updates.

    An *epoch* ends where the loop validates, chooses the best policy and saves: after a pass over
    a dataset, or, without one, after as many updates or frames as the run asks for.
    """

    steps_per_epoch: float
    """Updates per epoch; not a whole number, as epochs share batches."""
    total_steps: int
    """Updates of the run."""

    @classmethod
    def of_epochs(
        cls, epochs: int, *, steps_per_epoch: float, max_steps: int | None = None
    ) -> "Horizon":
        """So many epochs of so many updates, or `max_steps` updates if that is less."""
        total = max(1, round(steps_per_epoch * epochs))
        return cls(steps_per_epoch, min(total, max_steps or total))

    @classmethod
    def of_frames(cls, frames: int, *, per_update: float, per_epoch: int) -> "Horizon":
        """At least so many frames, given how many an update learns from and an epoch has."""
        return cls(per_epoch / per_update, max(1, math.ceil(frames / per_update)))

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

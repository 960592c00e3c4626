"""The learning rate range test (Smith 2017, section 3.3; https://arxiv.org/abs/1506.01186).

A fresh policy learns for some hundred updates while the learning rate grows exponentially. The loss
falls ever faster, reaches its lowest point where steps start to overshoot, and diverges. What is
suggested is the rate at which it falls fastest, but at most a tenth of that at the lowest point.
(The tenth alone is too much here: what any policy learns first, how often each bucket occurs, it
still learns at rates that would ruin a long run. An LSTM of width 64 got 0.014 by that rule and
0.0011 by this one, where 0.002 is known to be good.)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from exphil_tf.training.learner import Batch
from exphil_tf.training.learner_run import LearnerSetup
from exphil_tf.training.lr_finder_config import LRFinderConfig
from models.layers.backend import ops

_KEPT = 0.9
"""Share of the smoothed loss that stays at each update."""
_DIVERGED = 2.0
"""A smoothed loss this many times the lowest one has diverged."""
_SAFETY = 10.0
FEWEST = 3
"""Learning rates that tell a slope."""


class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that grows by the same factor at each update, up to its last value."""

    def __init__(self, config: LRFinderConfig):
        super().__init__()
        self.config = config

    def __call__(self, step: Any) -> Any:
        """Learning rate float32 `[]` of an integer step."""
        config = self.config
        share = ops.minimum(ops.cast(step, "float32") / (config.updates - 1), 1.0)
        growth = math.log(config.lr_max / config.lr_min)
        return config.lr_min * ops.exp(share * growth)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"config": self.config}


class Sweep(NamedTuple):
    """Learning rates that were tried, and what came of them."""

    rates: list[float]
    losses: list[float]
    """Optimised loss per frame, each before the update of its rate."""
    smoothed: list[float]
    """Moving average of the losses."""
    has_diverged: bool


class Suggestion(NamedTuple):
    """What a sweep says."""

    lr: float
    """`steepest`, or a tenth of `lowest` if that is less."""
    steepest: float
    """Where the loss falls fastest."""
    lowest: float
    """Where it is lowest."""


def sweep(
    setup: LearnerSetup[Batch],
    config: LRFinderConfig,
    *,
    on_update: Callable[[int, Sweep], None] = lambda *_: None,
) -> Sweep:
    """Tries the learning rates of a `Ramp` that the setup's learner was made with.

    Args:
      setup: learner and data.
      config: which rates.
      on_update: told the updates so far, and what is known.

    Stops where the loss diverges, or where an update is left out as it was not finite.
    """
    setup.start()
    found = Sweep([], [], [], has_diverged=False)
    average = 0.0
    with setup.data.named_errors():
        batches = iter(setup.data.batches())
        for step in range(config.updates):
            setup.learner.update(batches, step=step)
            values = setup.learner.take_report().values
            loss = values.get("loss", math.nan)
            if not math.isfinite(loss):
                return found._replace(has_diverged=True)
            average = _KEPT * average + (1 - _KEPT) * loss
            found.rates.append(_rate(config, step))
            found.losses.append(loss)
            found.smoothed.append(average / (1 - _KEPT ** (step + 1)))
            on_update(step + 1, found)
            if found.smoothed[-1] > _DIVERGED * min(found.smoothed):
                return found._replace(has_diverged=True)
    return found


def _rate(config: LRFinderConfig, step: int) -> float:
    return config.lr_min * (config.lr_max / config.lr_min) ** (step / (config.updates - 1))


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> Suggestion:
    """What smoothed losses at growing rates say.

    Raises: ValueError: if there are too few to tell a slope.
    """
    if len(rates) < FEWEST:
        raise ValueError(f"sweep: want at least {FEWEST} learning rates. Received: {len(rates)}")
    lowest = max(FEWEST - 1, int(np.argmin(smoothed)))
    slopes = np.gradient(smoothed, np.log(rates))
    steepest = rates[int(np.argmin(slopes[: lowest + 1]))]
    return Suggestion(min(steepest, rates[lowest] / _SAFETY), steepest, rates[lowest])

"""The learning rate as a function of the optimiser step: linear warm-up, then a decay.

The horizon of a decay is the run's total of optimiser steps, computed from the data, unless
`decay_steps` sets it. (A fixed default of 10,000 steps froze long runs of the original.)
"""

import dataclasses
import math
from typing import Any

import keras

from exphil_tf.training.run_config import ScheduleConfig
from models.layers.backend import ops

EXPONENTIAL_RATE = 0.95
EXPONENTIAL_STEPS = 1000


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate, float32, as a function of the optimiser step.

    Args:
      config: shape and durations.
      total_steps: optimiser steps of the run, the horizon where `decay_steps` is none.

    Raises: ValueError: if warm-up would not end before the run (or before the decay) does.
    """

    def __init__(self, config: ScheduleConfig, *, total_steps: int):
        super().__init__()
        self.config = config
        self.total_steps = total_steps
        self.horizon = config.decay_steps or total_steps
        self.warmup = _warmup_of(config, self.horizon)
        self.restart_period = config.restart_period or self._first_of_three()
        for name, end in (("the run's steps", total_steps), ("decay_steps", self.horizon)):
            if self.warmup > 1 and self.warmup >= end:
                raise ValueError(
                    f"warmup_steps: want less than {name} ({end}). Received: {self.warmup}"
                )

    def __call__(self, step: Any) -> Any:
        """Learning rate float32 `[]` of an integer step."""
        step = ops.cast(step, "float32")
        warmup = self.warmup
        after = self.config.lr * self._decay(ops.maximum(step - warmup, 0.0))
        if warmup <= 1:
            return after
        # Step 0 already learns something: the ramp is lr/w, 2·lr/w, … lr.
        return ops.where(step < warmup, self.config.lr * (step + 1) / warmup, after)

    def _decay(self, step: Any) -> Any:
        """Factor at `step` steps after warm-up."""
        length = max(1, self.horizon - self.warmup)
        progress = ops.minimum(step / length, 1.0)
        match self.config.lr_schedule:
            case "constant":
                return ops.ones_like(step)
            case "linear":
                return 1.0 - progress
            case "cosine":
                return _half_cosine(progress)
            case "cosine_restarts":
                return _half_cosine(self._progress_in_period(step))
            case "exponential":
                return EXPONENTIAL_RATE ** (step / EXPONENTIAL_STEPS)

    def _progress_in_period(self, step: Any) -> Any:
        first, mult = float(self.restart_period), float(self.config.restart_mult)
        if mult == 1:
            return ops.mod(step, first) / first
        # Period k starts at first·(mult**k - 1)/(mult - 1); the bound for k is that, inverted.
        period = ops.floor(ops.log1p(step * (mult - 1) / first) / math.log(mult) + 1e-6)
        start = first * (mult**period - 1) / (mult - 1)
        return ops.clip((step - start) / (first * mult**period), 0.0, 1.0)

    def _first_of_three(self) -> float:
        """Updates of a first period with which the run ends as the third does."""
        mult = self.config.restart_mult
        return max(1.0, (self.total_steps - self.warmup) / (1 + mult + mult**2))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"config": self.config, "total_steps": self.total_steps}


def _warmup_of(config: ScheduleConfig, horizon: int) -> int:
    """Updates of warm-up."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    return round(config.warmup_share * horizon)


def fit_warmup(config: ScheduleConfig, total_steps: int) -> ScheduleConfig:
    """The schedule with a warm-up of a tenth of the run where `warmup_steps` would outlast it."""
    if config.warmup_steps is None or not 1 < config.warmup_steps >= total_steps:
        return config
    return dataclasses.replace(config, warmup_steps=max(1, total_steps // 10))


def _half_cosine(progress: Any) -> Any:
    return 0.5 * (1.0 + ops.cos(math.pi * progress))

"""Sums of what is measured, kept on the device so that a step never waits for the host.

Reading them is one transfer per `log_interval`. They are float64: a validation split is summed
exactly enough that its order and batch size don't matter.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf


class RunningSums:
    """Sums by name in `tf.Variable`s.

    Args:
      shapes: of each sum.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        self.variables = {
            name: tf.Variable(tf.zeros(shape, tf.float64), trainable=False, name=name)
            for name, shape in shapes.items()
        }

    def add(self, batch_sums: Mapping[str, Any], keep: Any = True) -> None:
        """Adds a batch's sums, unless `keep` (bool `[]`) is False (its loss was not finite)."""
        for name, variable in self.variables.items():
            value = tf.cast(batch_sums[name], tf.float64)
            variable.assign_add(tf.where(keep, value, tf.zeros_like(value)))

    def reset(self) -> None:
        """Sets every sum to zero."""
        for variable in self.variables.values():
            variable.assign(tf.zeros_like(variable))

    def take(self) -> dict[str, np.ndarray]:
        """The sums so far, float64, which are zero afterwards."""
        values = {name: variable.numpy() for name, variable in self.variables.items()}
        self.reset()
        return values

"""What a policy remembers between the unrolls of a batch's rows, as variables.

Rows of a batch that walk through games (`data.cursors`) go on where the batch before ended, and so
does memory. It is a constant of the step that reads it: gradients end where an unroll begins.
"""

from typing import Any

import keras
import tensorflow as tf

from models.layers.temporal import State
from models.policy import Policy


class CarriedState:
    """The state of a policy behind the last batch; that of a game's start before the first one.

    Args:
      policy: whose state.
      batch_size: rows, which stay the same games' from batch to batch.
    """

    def __init__(self, policy: Policy, batch_size: int):
        self._initial = policy.initial_state(batch_size)
        parts = keras.tree.flatten(self._initial)
        self.variables = {
            name: tf.Variable(part, trainable=False)
            for name, part in zip(policy.state_names, parts, strict=True)
        }

    def read(self) -> State:
        """Before the next unroll."""
        parts = [variable.value() for variable in self.variables.values()]
        return keras.tree.pack_sequence_as(self._initial, parts)

    def write(self, state: State) -> None:
        """Behind an unroll. A row that holds NaN or infinity starts anew: no game would end it."""
        parts = keras.tree.flatten(state)
        is_sound = tf.reduce_all([_is_finite(part) for part in parts], axis=0)
        initial = keras.tree.flatten(self._initial)
        for variable, part, start in zip(self.variables.values(), parts, initial, strict=True):
            mask = tf.reshape(is_sound, [-1] + [1] * (len(variable.shape) - 1))
            variable.assign(tf.where(mask, tf.cast(part, variable.dtype), start))


def _is_finite(part: Any) -> Any:
    """Bool `[batch]`."""
    if not part.dtype.is_floating:
        return tf.ones(part.shape[:1], tf.bool)
    return tf.reduce_all(tf.math.is_finite(part), axis=list(range(1, len(part.shape))))

"""What a policy remembers between the unrolls of a batch's rows, as variables.

Rows of a batch that walk through games (`data.cursors`) go on where the batch before ended, and so
does memory. It is a constant of the step that reads it: gradients end where an unroll begins.
"""

from typing import Any

import keras

from models.layers.backend import ops
from models.layers.temporal import State, Tensor
from models.policy import Policy


class CarriedState:
    """The state of a policy behind the last batch; that of a game's start before the first one.

    Args:
      policy: whose state.
      batch_size: rows, which stay the same games' from batch to batch.
    """

    def __init__(self, policy: Policy, batch_size: int):
        self._initial = policy.initial_state(batch_size)
        self._names = policy.state_names
        self._parts = [
            keras.Variable(part, dtype=keras.backend.standardize_dtype(part.dtype), trainable=False)
            for part in keras.tree.flatten(self._initial)
        ]

    @property
    def variables(self) -> dict[str, Any]:
        """The backend's variables, by `Policy.state_names`."""
        return {name: v.value for name, v in zip(self._names, self._parts, strict=True)}

    def read(self) -> State:
        """Before the next unroll."""
        parts = [ops.convert_to_tensor(variable) for variable in self._parts]
        return keras.tree.pack_sequence_as(self._initial, parts)

    def write(self, state: State) -> None:
        """Behind an unroll. A row that holds NaN or infinity starts anew: no game would end it."""
        parts, initial = keras.tree.flatten(state), keras.tree.flatten(self._initial)
        if not parts:
            return
        is_sound = ops.all(ops.stack([_is_finite(part) for part in parts]), axis=0)
        for variable, part, start in zip(self._parts, parts, initial, strict=True):
            mask = ops.reshape(is_sound, [-1] + [1] * (len(variable.shape) - 1))
            variable.assign(ops.where(mask, ops.cast(part, variable.dtype), start))


def _is_finite(part: Tensor) -> Tensor:
    """Bool `[batch]`."""
    return ops.all(ops.isfinite(ops.reshape(part, (part.shape[0], -1))), axis=1)

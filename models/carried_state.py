"""What a policy remembers between the unrolls of a batch's rows, as variables.

Rows of a batch that walk through games (`data.cursors`) go on where they ended before, and so does
memory; where games take turns in a row, each batch takes up that of as many batches ago. Memory is
a constant of the step that reads it: gradients end where an unroll begins.
"""

from typing import Any

import keras

from models.layers.backend import ops, take_rows
from models.layers.temporal import State, Tensor
from models.policy import Policy


class CarriedState:
    """The state of a policy behind the last batch; that of a game's start before the first one.

    Args:
      policy: whose state.
      batch_size: rows.
      turns: batches after which the same games come again.
    """

    def __init__(self, policy: Policy, batch_size: int, *, turns: int = 1):
        self._initial = policy.initial_state(batch_size)
        self._turns = turns
        self._turn = _variable(ops.zeros((), "int32"))
        self._parts = {
            name: _variable(ops.stack([part] * turns))
            for name, part in zip(
                policy.state_names, keras.tree.flatten(self._initial), strict=True
            )
        }

    @property
    def variables(self) -> dict[str, Any]:
        """The backend's variables: whose turn it is, and by `Policy.state_names` `[turns, …]`."""
        return {name: v.value for name, v in {"turn": self._turn, **self._parts}.items()}

    def read(self) -> State:
        """Before the next unroll."""
        turn = ops.convert_to_tensor(self._turn)
        parts = [take_rows(ops.convert_to_tensor(v), turn) for v in self._parts.values()]
        return keras.tree.pack_sequence_as(self._initial, parts)

    def write(self, state: State) -> None:
        """Behind an unroll. A row that holds NaN or infinity starts anew: no game would end it."""
        parts, initial = keras.tree.flatten(state), keras.tree.flatten(self._initial)
        if not parts:
            return
        is_sound = ops.all(ops.stack([_is_finite(part) for part in parts]), axis=0)
        turn = ops.convert_to_tensor(self._turn)
        for variable, part, start in zip(self._parts.values(), parts, initial, strict=True):
            mask = ops.reshape(is_sound, [-1] + [1] * (len(part.shape) - 1))
            new = ops.where(mask, ops.cast(part, variable.dtype), start)
            is_turn = ops.reshape(ops.arange(self._turns) == turn, [-1] + [1] * len(part.shape))
            variable.assign(ops.where(is_turn, new[None], ops.convert_to_tensor(variable)))
        self._turn.assign((turn + 1) % self._turns)


def _variable(value: Tensor) -> keras.Variable:
    dtype = keras.backend.standardize_dtype(value.dtype)
    return keras.Variable(value, dtype=dtype, trainable=False)


def _is_finite(part: Tensor) -> Tensor:
    """Bool `[batch]`."""
    return ops.all(ops.isfinite(ops.reshape(part, (part.shape[0], -1))), axis=1)

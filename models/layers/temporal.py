"""The contract of everything that reads frames in order: `initial_state`, `step`, `unroll`.

`unroll` trains, `step` plays; both take the same state and the same `is_resetting`, and one test
ties them: `unroll(x)` equals `step` repeated. `is_resetting` is True on the first frame of a game:
there a row's state counts as initial, *before* that frame is read, and so does all else that the
row remembers (a policy's previous action). An unroll cut out of the middle of a game is no reset:
it starts from `initial_state` and still knows the action before it.
"""

from typing import Any

import keras

from models.layers.backend import ops

Tensor = Any
State = Any
"""A tuple (maybe nested, maybe empty) of tensors whose first axis is the batch."""


class TemporalLayer(keras.layers.Layer):
    """A layer with memory. Subclasses implement the three methods; `call` is an unroll.

    Call shapes: `layer(x [batch, time, features], is_resetting bool [batch, time])` gives
    `[batch, time, width]`, starting from the initial state.
    """

    def initial_state(self, batch_size: int) -> State:
        """Returns the state at the start of a game, for `batch_size` rows."""
        raise NotImplementedError

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """Reads one frame, as in play (never with dropout).

        Args:
          x: `[batch, features]`.
          state: as `initial_state` or the last call returned it.
          is_resetting: bool `[batch]`, True where this frame starts a game; None if it does in no
            row, or where the caller gives such rows their initial state (as an export does).

        Returns: output `[batch, width]` and the new state.
        """
        raise NotImplementedError

    def unroll(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool = False
    ) -> tuple[Tensor, State]:
        """Reads `time` frames; without dropout it equals `step` repeated.

        Args:
          x: `[batch, time, features]` with a static number of frames.
          state: as `initial_state` or the last call returned it.
          is_resetting: bool `[batch, time]`, True where a frame starts a game.
          training: a Python bool; dropout is active only when True.

        Returns: outputs `[batch, time, width]` and the state after the last frame.
        """
        raise NotImplementedError

    def call(self, x: Tensor, is_resetting: Tensor, training: bool = False) -> Tensor:
        """Unrolls from the initial state and returns the outputs."""
        state = self.initial_state(ops.shape(x)[0])
        return self.unroll(x, state, is_resetting, training=training)[0]


def zero_on_reset(x: Tensor, is_resetting: Tensor | None) -> Tensor:
    """Forgets what a row held before a game began.

    Args:
      x: `[batch, …]`, or `[batch, time, …]`.
      is_resetting: bool `[batch]`, or `[batch, time]`; None for no resets.

    Returns: `x`, zero where it resets, even where it was NaN.
    """
    if is_resetting is None:
        return x
    mask: Any = is_resetting
    for _ in range(len(x.shape) - len(mask.shape)):
        mask = mask[..., None]
    return ops.where(mask, ops.zeros((), x.dtype), x)

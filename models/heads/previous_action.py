"""The previous action in buckets, found in the graph from the values that the game read.

What a policy is handed, and hands back, are values: they are the same whatever its buckets, and a
controller at rest is all zeros. They lie on the game's grid, so a table by whole steps gives the
bucket that the codec gives: `encode(to_bytes(values))`, to the bit. That is the bucket they were
decoded from, for all that a stick can reach (`ControllerCodec.within_reach`); what a policy chooses
beyond that is told as what the game made of it.
"""

import numpy as np

from exphil_tf.features.controller import AXES, COMPONENTS, ControllerCodec
from exphil_tf.melee.controls import STICK_STEPS, TRIGGER_STEPS
from exphil_tf.melee.enums import BUTTONS
from models.layers.backend import ops, take_rows
from models.layers.temporal import Tensor

_NUM_BUTTONS = len(BUTTONS)


class PreviousAction:
    """Which rows of a table the previous action stands for.

    A table has a row per button (held), then one per bucket of each axis and of the shoulder, as
    logits are ordered.

    Args:
      codec: the buckets.
    """

    def __init__(self, codec: ControllerCodec):
        sizes = [codec.sizes[name] for name in COMPONENTS]
        self.num_rows = sum(sizes)
        self._num_axis = codec.num_axis
        self._starts = np.cumsum([0, *sizes[:-1]], dtype=np.int32)[1:]
        # Places of a value's steps in one table of rows. They are even, so that a value halfway
        # between two steps is rounded as it would be without them.
        steps = np.arange(-STICK_STEPS, STICK_STEPS + 1)
        axis = codec.axis_table[steps.astype(np.int8).view(np.uint8)]
        parts = [[self.num_rows, button] for button in range(_NUM_BUTTONS)]
        parts += [[*(start + axis), 0] for start in self._starts[: len(AXES)]]
        parts += [self._starts[-1] + codec.shoulder_table[: TRIGGER_STEPS + 1]]
        self._rows = np.concatenate(parts).astype(np.int32)
        first = np.cumsum([0, *map(len, parts[:-1])])
        centre = [0] * _NUM_BUTTONS + [STICK_STEPS] * len(AXES) + [0]
        self._places = (first + centre).astype(np.float32)
        scale = [1] * _NUM_BUTTONS + [STICK_STEPS] * len(AXES) + [TRIGGER_STEPS]
        self._scale = np.array(scale, np.float32)

    def rows(self, controller: Tensor) -> Tensor:
        """int32 `[…, 13]`: a row per button and component; `num_rows` for a button that is up.

        Args:
          controller: decoded values `[…, 13]`, as `FrameEmbedding.join_controller` lays them out.
        """
        places = ops.cast(controller, "float32") * self._scale + self._places
        return take_rows(self._rows, ops.cast(ops.round(places), "int32"))

    def one_hot(self, controller: Tensor, dtype: str) -> Tensor:
        """`[…, num_rows]`: 1 for each row that `rows` names.

        Args:
          controller: as in `rows`. In a step, `[batch, 13]`, the rows of a table are summed: fewer
            operations there, and more work in an unroll.
          dtype: of the result.
        """
        rows = self.rows(controller)
        if len(controller.shape) == 2:
            table = np.eye(self.num_rows + 1, self.num_rows, dtype=np.float32)
            return ops.cast(ops.sum(take_rows(table, rows), axis=1), dtype)
        rows = rows[..., _NUM_BUTTONS:] - self._starts
        axes = ops.one_hot(rows[..., :-1], self._num_axis, dtype=dtype)
        axes = ops.reshape(axes, (-1, *axes.shape[1:-2], len(AXES) * self._num_axis))
        last = ops.one_hot(rows[..., -1], self.num_rows - int(self._starts[-1]), dtype=dtype)
        held = ops.cast(controller[..., :_NUM_BUTTONS], dtype)
        return ops.concatenate([held, axes, last], axis=-1)

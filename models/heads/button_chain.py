"""Eight buttons, each conditioned on those before it: `p(b) = Π p(b_i | b_1 … b_(i-1))`.

A pressed button adds a number to the logit of each later one. Training knows all buttons and pays
for one product of 8 by 8. Sampling one after the other would cost eight rounds of small operations.
But given the noise of each button, which it is pressed above, exactly one of the 256 patterns
presses just the buttons that it says, and all patterns are tried at once.
"""

import numpy as np

from exphil_tf.melee.enums import BUTTONS
from models.layers.backend import first_argmax, ops, take_rows
from models.layers.temporal import Tensor

_COUNT = len(BUTTONS)
PATTERNS = (np.arange(2**_COUNT)[:, None] >> np.arange(_COUNT)) & 1
"""int `[256, 8]`: every way to hold eight buttons."""
LATER = np.triu(np.ones((_COUNT, _COUNT), np.float32), 1)
"""`[8, 8]`: which button (row) conditions which (column)."""


def conditioned(logits: Tensor, kernel: Tensor, pressed: Tensor) -> Tensor:
    """Logits given the buttons before each, float32 `[…, 8]`.

    Args:
      logits: float32 `[…, 8]`, with no other button held.
      kernel: `[8, 8]`; what does not lead to a later button is not read.
      pressed: the buttons, 0/1 `[…, 8]`.
    """
    return logits + ops.matmul(ops.cast(pressed, "float32"), _masked(kernel))


def choose(logits: Tensor, kernel: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Presses each button whose logit, given those before it, is above its noise.

    Args:
      logits: float32 `[batch, 1, 8]`, with no other button held.
      kernel: as in `conditioned`.
      noise: float32 `[batch, 1, 8]`.

    Returns: int32 `[batch, 1, 8]` of 0/1, and logits given the buttons before each.
    """
    added = ops.matmul(PATTERNS.astype(np.float32), _masked(kernel))
    sign = (2 * PATTERNS - 1).astype(np.float32)
    # How far each button of a pattern is on the side that the pattern says; `[batch, 256, 8]`.
    margin = (logits - noise) * sign + added * sign
    index = first_argmax(ops.min(margin, axis=-1, keepdims=True), axis=1)
    pressed = take_rows(PATTERNS.astype(np.int32), index)
    return pressed, logits + take_rows(added, index)


def _masked(kernel: Tensor) -> Tensor:
    return ops.cast(ops.convert_to_tensor(kernel), "float32") * LATER

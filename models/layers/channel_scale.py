"""Products with a weight per channel, whose gradient a CPU computes fast: see `sum_frames`.

For a single frame both are the plain forms: a step is exported as it is.
"""

from typing import Any

import keras

from models.layers.backend import dense_value, incoming_gradients, ops, sum_frames
from models.layers.temporal import Tensor


def scale_channels(x: Tensor, weight: Tensor) -> Tensor:
    """Returns float32 `x * weight`, of `[batch, time, channels]` and `[channels]`."""
    return x * weight if x.shape[1] == 1 else _scaled(x, dense_value(weight))


@ops.custom_gradient
def _scaled(x: Tensor, weight: Tensor) -> Any:
    def grad(*args: Tensor, upstream: tuple | None = None) -> tuple:
        (by_product,) = incoming_gradients(args, upstream)
        return by_product * weight, sum_frames(by_product * x)

    return x * weight, grad


class RMSNorm(keras.layers.RMSNormalization):
    """Keras' layer over the last axis of `[batch, time, channels]`."""

    def call(self, x: Tensor) -> Tensor:
        """Returns `x / sqrt(mean(x²) + epsilon) * scale`, computed in float32."""
        if x.shape[1] == 1:
            return super().call(x)
        normed = ops.rms_normalization(ops.cast(x, "float32"), epsilon=self.epsilon)
        return ops.cast(scale_channels(normed, self.scale), x.dtype)

"""Causal depthwise convolution over time, as Mamba's blocks have it; it never looks across a reset.

Its memory is the last `taps - 1` inputs. A kernel is `[taps, channels]`, the last tap the present.
"""

import keras

from models.layers.backend import ops
from models.layers.seeding import derive_seed
from models.layers.temporal import Tensor, zero_on_reset


def add_convolution(
    layer: keras.layers.Layer, taps: int, channels: int, *, seed: int
) -> tuple[keras.Variable, keras.Variable]:
    """Returns new weights of `layer`: a kernel within `taps ** -0.5` of 0, and a bias of zeros."""
    bound = taps**-0.5
    uniform = keras.initializers.RandomUniform(-bound, bound, derive_seed(seed, "conv_kernel"))
    kernel = layer.add_weight(name="conv_kernel", shape=(taps, channels), initializer=uniform)
    return kernel, layer.add_weight(name="conv_bias", shape=(channels,), initializer="zeros")


def convolve(
    u: Tensor, history: Tensor, is_resetting: Tensor, *, kernel: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Convolves `time` frames.

    Args:
      u: `[batch, time, channels]`.
      history: float32 `[batch, taps - 1, channels]`, inputs before the first frame.
      is_resetting: bool `[batch, time]`.
      kernel: `[taps, channels]`.
      bias: `[channels]`.

    Returns: silu of the convolution `[batch, time, channels]`, and the new history.
    """
    taps, time = kernel.shape[0], u.shape[1]
    extended = ops.concatenate([ops.cast(history, u.dtype), u], axis=1)
    # Games seen so far, per frame; the history belongs to game 0.
    game = ops.cumsum(ops.cast(is_resetting, "int32"), axis=1)
    games = ops.pad(game, [(0, 0), (taps - 1, 0)])
    kernel = ops.cast(kernel, u.dtype)
    total = u * kernel[-1] + ops.cast(bias, u.dtype)
    for tap in range(taps - 1):
        same_game = ops.cast(games[:, tap : tap + time] == game, u.dtype)[:, :, None]
        total = total + extended[:, tap : tap + time] * kernel[tap] * same_game
    alive = ops.cast(games[:, time:] == game[:, -1:], u.dtype)[:, :, None]
    return ops.silu(total), ops.cast(extended[:, time:] * alive, "float32")


def convolve_frame(
    u: Tensor, history: Tensor, is_resetting: Tensor | None, *, kernel: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """As `convolve`, of one frame `[batch, 1, channels]` and `is_resetting` bool `[batch]`."""
    history = zero_on_reset(history, is_resetting)
    history = ops.concatenate([history, ops.cast(u, "float32")], axis=1)
    mixed = ops.sum(history * ops.cast(kernel, "float32"), axis=1, keepdims=True)
    return ops.silu(ops.cast(mixed, u.dtype) + ops.cast(bias, u.dtype)), history[:, 1:]

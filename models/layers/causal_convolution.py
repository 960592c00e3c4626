"""Causal depthwise convolution over time, as Mamba's blocks have it; it never looks across a reset.

Its memory is the last `taps - 1` inputs. A kernel is `[taps, channels]`, the last tap the present.
"""

from typing import Any

import keras

from models.layers.backend import dense_value, incoming_gradients, ops, sum_frames
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
    history = ops.cast(history, u.dtype)
    # Games seen so far, per frame; the history belongs to game 0.
    game = ops.cumsum(ops.cast(is_resetting, "int32"), axis=1)
    games = ops.pad(game, [(0, 0), (taps - 1, 0)])
    same_game = [
        ops.cast(games[:, tap : tap + time] == game, u.dtype)[:, :, None] for tap in range(taps - 1)
    ]
    mixed = _mix(same_game)(u, history, dense_value(kernel), dense_value(bias))
    alive = ops.cast(games[:, time:] == game[:, -1:], u.dtype)[:, :, None]
    after = ops.concatenate([history, u], axis=1)[:, time:]
    return ops.silu(mixed), ops.cast(after * alive, "float32")


def _mix(same_game: list[Tensor]) -> Any:
    """Returns `(u, history, kernel, bias) -> convolution` with its gradient.

    Args:
      same_game: by tap of the past, `[batch, time, 1]`: 1 where the frame that it reads is of the
        same game.

    On a CPU the plain gradient takes half of what a Mamba block costs beside its matrix products
    and its scan: see `sum_frames`.
    """
    past = len(same_game)

    @ops.custom_gradient
    def mix(u: Tensor, history: Tensor, kernel: Tensor, bias: Tensor) -> Any:  # noqa: PLR0917
        time = u.shape[1]
        extended = ops.concatenate([history, u], axis=1)
        read = [extended[:, tap : tap + time] for tap in range(past)]
        weights = ops.cast(kernel, u.dtype)
        mixed = u * weights[past] + ops.cast(bias, u.dtype)
        for tap in range(past):
            mixed = mixed + read[tap] * weights[tap] * same_game[tap]

        def grad(*args: Tensor, upstream: tuple | None = None) -> tuple:
            (by_mixed,) = incoming_gradients(args, upstream)
            by_u, by_history = by_mixed * weights[past], ops.zeros_like(history)
            by_kernel = []
            for tap, same in enumerate(same_game):
                by_read = by_mixed * same
                by_kernel.append(sum_frames(by_read * read[tap]))
                ago = past - tap
                of_history = min(ago, time)  # frames that read from there
                by_read = by_read * weights[tap]
                by_u = by_u + _placed(by_read[:, of_history:], 0, of_history)
                by_history = by_history + _placed(by_read[:, :of_history], tap, ago - of_history)
            by_kernel.append(sum_frames(by_mixed * u))
            return by_u, by_history, ops.stack(by_kernel), sum_frames(by_mixed)

        return mixed, grad

    return mix


def _placed(x: Tensor, before: int, after: int) -> Tensor:
    """`x [batch, time, channels]` with frames of zeros around it."""
    return ops.pad(x, [(0, 0), (before, after), (0, 0)])


def convolve_frame(
    u: Tensor, history: Tensor, is_resetting: Tensor | None, *, kernel: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """As `convolve`, of one frame `[batch, 1, channels]` and `is_resetting` bool `[batch]`."""
    history = zero_on_reset(history, is_resetting)
    history = ops.concatenate([history, ops.cast(u, "float32")], axis=1)
    mixed = ops.sum(history * ops.cast(kernel, "float32"), axis=1, keepdims=True)
    return ops.silu(ops.cast(mixed, u.dtype) + ops.cast(bias, u.dtype)), history[:, 1:]

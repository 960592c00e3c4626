"""LSTM over frames (Hochreiter and Schmidhuber 1997), fast in a compiled CPU graph.

The input's projection is one matrix product for all frames; only the recurrent product stays in
the loop. The loop has its own gradient: it stores gate activations, walks back once, and takes the
recurrent kernel's gradient as one product over all frames instead of one outer product per frame.
`keras.layers.LSTM` knows no resets inside a sequence.
"""

from collections.abc import Callable
from typing import Any

import keras

from models.layers.backend import ops
from models.layers.dense import dense
from models.layers.quantized import quantize_blocks, quantize_fixed, quantize_kernel
from models.layers.seeding import derive_seed
from models.layers.temporal import State, TemporalLayer, Tensor, zero_on_reset
from models.layers.time_scan import time_scan
from models.quantization_config import Rounding


class LSTMLayer(TemporalLayer):
    """One LSTM layer followed by LayerNorm.

    State: (h, c), each float32 `[batch, width]`.

    Args:
      width: units.
      seed: initial weights are a function of it.
      quantize: how operands of both products are rounded to 8 bits; None for not at all. A moving
        range could not be compiled inside the loop; as h lies in (-1, 1), its range is fixed then.
    """

    def __init__(self, width: int, *, seed: int = 0, quantize: Rounding | None = None, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.seed = seed
        self.rounding: Rounding | None = quantize
        self.input_proj = dense(
            4 * width,
            "input_proj",
            seed=seed,
            quantize=quantize,
            bias_initializer=self._initial_bias,
        )
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")

    def _initial_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """Forget gates start open (Jozefowicz et al. 2015)."""
        del shape
        zeros, ones = ops.zeros((self.width,), dtype), ops.ones((self.width,), dtype)
        return ops.concatenate([zeros, ones, zeros, zeros])

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.input_proj.build((None, input_shape[-1]))
        self.norm.build((None, self.width))
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.width, 4 * self.width),
            initializer=keras.initializers.Orthogonal(seed=derive_seed(self.seed, "recurrent")),
        )

    def initial_state(self, batch_size: int) -> State:
        """Returns zeros: (h, c)."""
        shape = (batch_size, self.width)
        return ops.zeros(shape, "float32"), ops.zeros(shape, "float32")

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """See `TemporalLayer.step`."""
        h, c = (zero_on_reset(part, is_resetting) for part in state)
        projected = ops.cast(self.input_proj(x), "float32")
        h, c, _ = _lstm_cell(projected, self._rounded(h), c, kernel=self._kernel())
        return self.norm(h), (h, c)

    def unroll(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool = False
    ) -> tuple[Tensor, State]:
        """See `TemporalLayer.unroll`."""
        del training  # No dropout inside the layer.
        projected = ops.swapaxes(ops.cast(self.input_proj(x), "float32"), 0, 1)
        keep = 1.0 - ops.cast(ops.swapaxes(is_resetting, 0, 1), "float32")
        scan = _lstm_scan(keep[:, :, None], self._rounded)
        y, h, c = scan(projected, self._kernel(), *state)
        return self.norm(ops.swapaxes(y, 0, 1)), (h, c)

    def _kernel(self) -> Tensor:
        kernel = ops.cast(self.recurrent_kernel, "float32")
        return quantize_kernel(kernel) if self.rounding else kernel

    def _rounded(self, h: Tensor) -> Tensor:
        """What of h the recurrent product sees."""
        if self.rounding == "dynamic":
            return quantize_blocks(h)
        return quantize_fixed(h, -1.0, 1.0) if self.rounding else h


def _lstm_cell(
    projected: Tensor, h: Tensor, c: Tensor, *, kernel: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns h, c and the activated gates `[batch, 4 * width]` (input, forget, new, output)."""
    i, f, g, o = ops.split(projected + ops.matmul(h, kernel), 4, axis=-1)
    i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
    c = f * c + i * g
    return o * ops.tanh(c), c, ops.concatenate([i, f, g, o], axis=-1)


def _shift(first: Tensor, rest: Tensor) -> Tensor:
    """`rest [time, …]` one frame later, starting with `first`."""
    return ops.concatenate([first[None], rest[:-1]], axis=0)


def _lstm_scan(keep: Tensor, rounded: Callable[[Tensor], Tensor]) -> Any:
    """Returns `(projected [time, batch, 4 * width], kernel, h, c) -> (y, h, c)` and its gradient.

    Args:
      keep: float32 `[time, batch, 1]`, 0 where the state is zeroed before the frame.
      rounded: applied to h before the recurrent product; its gradient counts as 1.
    """

    @ops.custom_gradient
    def scan(projected: Tensor, kernel: Tensor, h: Tensor, c: Tensor) -> Any:  # noqa: PLR0917
        def forward(carry: tuple, frame: tuple) -> tuple[tuple, tuple]:
            z, k = frame
            h, c, gates = _lstm_cell(z, rounded(carry[0] * k), carry[1] * k, kernel=kernel)
            return (h, c), (h, c, gates)

        (h_last, c_last), (y, cells, gates) = time_scan(forward, (h, c), (projected, keep))

        def backward(carry: tuple, frame: tuple) -> tuple[tuple, Tensor]:
            (grad_h, grad_c), (grad_y, k, c, c_before, gates) = carry, frame
            i, f, g, o = ops.split(gates, 4, axis=-1)
            grad_h = grad_h + grad_y
            tanh_c = ops.tanh(c)
            grad_c = grad_c + grad_h * o * (1.0 - tanh_c * tanh_c)
            grad_z = ops.concatenate(
                [
                    grad_c * g * i * (1.0 - i),
                    grad_c * c_before * f * (1.0 - f),
                    grad_c * i * (1.0 - g * g),
                    grad_h * tanh_c * o * (1.0 - o),
                ],
                axis=-1,
            )
            grad_h = ops.matmul(grad_z, ops.transpose(kernel)) * k
            return (grad_h, grad_c * f * k), grad_z

        def grad(*args: Tensor, upstream: tuple | None = None) -> tuple:
            grad_y, grad_h, grad_c = args if upstream is None else upstream
            frames = (grad_y, keep, cells, _shift(c, cells) * keep, gates)
            (grad_h, grad_c), grad_z = time_scan(backward, (grad_h, grad_c), frames, reverse=True)
            width = kernel.shape[0]
            h_before = ops.reshape(rounded(_shift(h, y) * keep), (-1, width))
            flat = ops.reshape(grad_z, (-1, 4 * width))
            return grad_z, ops.matmul(ops.transpose(h_before), flat), grad_h, grad_c

        return (y, h_last, c_last), grad

    return scan

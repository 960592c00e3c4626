"""LSTM and GRU over frames, fast in a compiled CPU graph.

The input's projection is one matrix product for all frames; only the recurrent product stays in the
loop. The loop has its own gradient: it keeps the gates, walks back once, and takes the recurrent
kernel's gradient as one product over all frames instead of one outer product per frame.
`keras.layers.LSTM` and `GRU` know no resets inside a sequence; what they compute is the same.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np

from models.layers.backend import frames_a_turn, incoming_gradients, ops
from models.layers.dense import dense
from models.layers.quantized import quantize_blocks, quantize_fixed, quantize_kernel
from models.layers.seeding import derive_seed
from models.layers.temporal import State, TemporalLayer, Tensor, zero_on_reset
from models.layers.time_scan import time_scan
from models.quantization_config import Rounding

Parts = tuple[Tensor, ...]
"""State or its gradient, h first: float32 `[batch, width]` each."""


class Frame(NamedTuple):
    """What the gradient of a frame needs."""

    state: Parts
    before: Parts
    """State that the frame started from."""
    activations: Any


class Cell(NamedTuple):
    """One frame of a recurrent layer, and its gradient, without the products.

    `projected` is the input's product with its bias, `recurrent` that of h, both float32
    `[batch, gates * width]`.
    """

    state_names: tuple[str, ...]
    gates: int
    """Products of one width per frame."""
    forward: Callable[[Tensor, Tensor, Parts], tuple[Parts, Any]]
    """`(projected, recurrent, before) -> (state, activations)`."""
    backward: Callable[[Parts, Frame], tuple[Tensor, Parts]]
    """`(grad_state, frame) -> (grad_projected, grad_before)`, less what `recurrent` hands back."""
    grad_recurrent: Callable[[Tensor, Any], Tensor]
    """`(grad_projected, activations) -> gradient of recurrent`."""


class RecurrentLayer(TemporalLayer):
    """One recurrent layer, followed by LayerNorm.

    State: what the cell names, each float32 `[batch, width]`.

    Args:
      width: units.
      is_normed: whether LayerNorm follows; without it outputs are h, in (-1, 1).
      seed: initial weights are a function of it.
      quantize: how operands of both products are rounded to 8 bits; None for not at all. A moving
        range could not be compiled inside the loop; as h lies in (-1, 1), its range is fixed then.
    """

    cell: ClassVar[Cell]
    recurrent_bias: keras.Variable | None = None

    def __init__(
        self,
        width: int,
        *,
        is_normed: bool = True,
        seed: int = 0,
        quantize: Rounding | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.width = width
        self.seed = seed
        self.rounding: Rounding | None = quantize
        self.input_proj = dense(
            self.cell.gates * width,
            "input_proj",
            seed=seed,
            quantize=quantize,
            bias_initializer=self._initial_bias,
        )
        self.norm = (
            keras.layers.LayerNormalization(epsilon=1e-6, name="norm") if is_normed else None
        )

    def _initial_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        return ops.zeros(shape, dtype)

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.input_proj.build((None, input_shape[-1]))
        if self.norm is not None:
            self.norm.build((None, self.width))
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.width, self.cell.gates * self.width),
            initializer=keras.initializers.Orthogonal(seed=derive_seed(self.seed, "recurrent")),
        )

    def initial_state(self, batch_size: int) -> State:
        """Returns zeros."""
        return tuple(ops.zeros((batch_size, self.width), "float32") for _ in self.cell.state_names)

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """See `TemporalLayer.step`."""
        before = tuple(zero_on_reset(part, is_resetting) for part in state)
        projected = ops.cast(self.input_proj(x), "float32")
        recurrent = ops.matmul(self._rounded(before[0]), self._kernel())
        if (bias := self._bias()) is not None:
            recurrent = recurrent + bias
        state, _ = self.cell.forward(projected, recurrent, before)
        return self._normed(state[0]), state

    def unroll(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool = False
    ) -> tuple[Tensor, State]:
        """See `TemporalLayer.unroll`."""
        del training  # No dropout inside the layer.
        projected = ops.swapaxes(ops.cast(self.input_proj(x), "float32"), 0, 1)
        keep = 1.0 - ops.cast(ops.swapaxes(is_resetting, 0, 1), "float32")
        bias = self._bias()
        recurrent = (self._kernel(),) if bias is None else (self._kernel(), bias)
        scan = _scan(self.cell, keep[:, :, None], self._rounded)
        y, *last = scan(projected, *state, *recurrent)
        return self._normed(ops.swapaxes(y, 0, 1)), tuple(last)

    def _normed(self, h: Tensor) -> Tensor:
        return ops.cast(h, self.compute_dtype) if self.norm is None else self.norm(h)

    def _kernel(self) -> Tensor:
        kernel = ops.cast(self.recurrent_kernel, "float32")
        return quantize_kernel(kernel) if self.rounding else kernel

    def _bias(self) -> Tensor | None:
        """Bias of the recurrent product `[gates * width]`, if the cell has one."""
        return None

    def _rounded(self, h: Tensor) -> Tensor:
        """What of h the recurrent product sees."""
        if self.rounding == "dynamic":
            return quantize_blocks(h)
        return quantize_fixed(h, -1.0, 1.0) if self.rounding else h


def _shift(first: Tensor, rest: Tensor) -> Tensor:
    """`rest [time, …]` one frame later, starting with `first`."""
    return ops.concatenate([first[None], rest[:-1]], axis=0)


def _scan(cell: Cell, keep: Tensor, rounded: Callable[[Tensor], Tensor]) -> Any:
    """Returns `(projected [time, batch, …], *state, kernel, *bias) -> (y, *state)` with gradient.

    Args:
      cell: what happens in a frame.
      keep: float32 `[time, batch, 1]`, 0 where the state is zeroed before the frame.
      rounded: applied to h before the recurrent product; its gradient counts as 1.
    """

    @ops.custom_gradient
    def scan(projected: Tensor, *others: Tensor) -> Any:
        num_parts = len(cell.state_names)
        start, (kernel, *bias) = others[:num_parts], others[num_parts:]

        def forward(carry: Parts, frame: tuple) -> tuple[Parts, tuple]:
            projected, keep = frame
            before = tuple(part * keep for part in carry)
            recurrent = ops.matmul(rounded(before[0]), kernel)
            recurrent = recurrent + bias[0] if bias else recurrent
            state, activations = cell.forward(projected, recurrent, before)
            return state, (state, activations)

        unroll = frames_a_turn()
        last, (states, activations) = time_scan(forward, start, (projected, keep), unroll=unroll)

        def grad(*args: Tensor, upstream: tuple | None = None) -> tuple:
            grad_y, *grad_last = incoming_gradients(args, upstream)
            befores = tuple(_shift(a, b) * keep for a, b in zip(start, states, strict=True))
            transposed = ops.transpose(kernel)

            def backward(carry: Parts, frame: tuple) -> tuple[Parts, Tensor]:
                grad_y, keep, seen = frame
                carry = (carry[0] + grad_y, *carry[1:])
                projected, (h, *rest) = cell.backward(carry, seen)
                h = h + ops.matmul(cell.grad_recurrent(projected, seen.activations), transposed)
                return tuple(part * keep for part in (h, *rest)), projected

            frames = (grad_y, keep, Frame(states, befores, activations))
            grads, projected = time_scan(
                backward, tuple(grad_last), frames, reverse=True, unroll=unroll
            )
            recurrent = cell.grad_recurrent(projected, activations)
            recurrent = ops.reshape(recurrent, (-1, kernel.shape[1]))
            h_before = ops.reshape(rounded(befores[0]), (-1, kernel.shape[0]))
            grad_kernel = ops.matmul(ops.transpose(h_before), recurrent)
            grad_bias = [ops.sum(recurrent, axis=0)] if bias else []
            return (projected, *grads, grad_kernel, *grad_bias)

        return (states[0], *last), grad

    return scan


# -- LSTM (Hochreiter and Schmidhuber 1997): gates input, forget, new, output ---------------------


def _lstm_forward(projected: Tensor, recurrent: Tensor, before: Parts) -> tuple[Parts, Tensor]:
    # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2: one vectorised pass over all gates, no concatenation.
    width = before[0].shape[-1]
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), width)
    offset = np.repeat(np.array([0.5, 0.5, 0.0, 0.5], np.float32), width)
    gates = ops.tanh((projected + recurrent) * scale) * scale + offset
    i, f, g, o = ops.split(gates, 4, axis=-1)
    c = f * before[1] + i * g
    return (o * ops.tanh(c), c), gates


def _lstm_backward(grad: Parts, frame: Frame) -> tuple[Tensor, Parts]:
    i, f, g, o = ops.split(frame.activations, 4, axis=-1)
    grad_h, tanh_c = grad[0], ops.tanh(frame.state[1])
    grad_c = grad[1] + grad_h * o * (1.0 - tanh_c * tanh_c)
    grad_projected = [
        grad_c * g * i * (1.0 - i),
        grad_c * frame.before[1] * f * (1.0 - f),
        grad_c * i * (1.0 - g * g),
        grad_h * tanh_c * o * (1.0 - o),
    ]
    return ops.concatenate(grad_projected, axis=-1), (ops.zeros_like(grad_h), grad_c * f)


class LSTMLayer(RecurrentLayer):
    """LSTM. State: (h, c)."""

    cell = Cell(("h", "c"), 4, _lstm_forward, _lstm_backward, lambda grad, gates: grad)

    def _initial_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """Forget gates start open (Jozefowicz et al. 2015)."""
        del shape
        zeros, ones = ops.zeros((self.width,), dtype), ops.ones((self.width,), dtype)
        return ops.concatenate([zeros, ones, zeros, zeros])


# -- GRU (Cho et al. 2014) as in cuDNN, which resets after the product: update, reset, new --------


def _gru_forward(projected: Tensor, recurrent: Tensor, before: Parts) -> tuple[Parts, Parts]:
    gates_end = [2 * before[0].shape[-1]]
    gates, new = ops.split(projected, gates_end, axis=-1)
    of_gates, memory = ops.split(recurrent, gates_end, axis=-1)
    update, reset = ops.split(ops.sigmoid(gates + of_gates), 2, axis=-1)
    new = ops.tanh(new + reset * memory)
    return (new + update * (before[0] - new),), (update, reset, new, memory)


def _gru_backward(grad: Parts, frame: Frame) -> tuple[Tensor, Parts]:
    (grad_h,), (update, reset, new, memory) = grad, frame.activations
    grad_new = grad_h * (1.0 - update) * (1.0 - new * new)
    grad_projected = [
        grad_h * (frame.before[0] - new) * update * (1.0 - update),
        grad_new * memory * reset * (1.0 - reset),
        grad_new,
    ]
    return ops.concatenate(grad_projected, axis=-1), (grad_h * update,)


def _gru_grad_recurrent(grad_projected: Tensor, activations: Parts) -> Tensor:
    gates, new = ops.split(grad_projected, [2 * activations[1].shape[-1]], axis=-1)
    return ops.concatenate([gates, new * activations[1]], axis=-1)


class GRULayer(RecurrentLayer):
    """GRU. State: (h,).

    Numbers are those of `keras.layers.GRU(reset_after=True)`, whose second bias row is
    `recurrent_bias` behind zeros: the gates' biases are in the projection.
    """

    cell = Cell(("h",), 3, _gru_forward, _gru_backward, _gru_grad_recurrent)

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        super().build(input_shape)
        self.recurrent_bias = self.add_weight(
            name="recurrent_bias", shape=(self.width,), initializer="zeros"
        )

    def _bias(self) -> Tensor:
        gates = ops.zeros((2 * self.width,), "float32")
        return ops.concatenate([gates, ops.cast(self.recurrent_bias, "float32")])

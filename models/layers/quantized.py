"""Quantization-aware training: TFMOT's quantizers, hosted in Keras 3 layers.

TFMOT's own `quantize_model` refuses Keras 3 models, and it could not reach inside a Mamba block or
an attention layer. Its quantizers can be called with the variables of any layer, though, and that
is all there is to it (Jacob et al. 2017, https://arxiv.org/abs/1712.05877, §3):

- A kernel lies on a symmetric int8 grid per output channel, `scale = max|w| / 127` of its present
  values. The range is computed, not stored: a stored one would be stale for averaged weights.
- An activation lies on the grid that the integer kernel of an export will use. *Dynamic*: int8 with
  a scale per row and block of inputs, found in the row itself. *Moving average*: uint8 per tensor,
  in a range that is two variables of the layer, a moving average of batch extremes (TFMOT).

Ranges move only inside `ranges("calibrate")` (extremes of all that is seen) or `ranges("observe")`
(moving average, for training). Everywhere else, in validation, play and export, they are constants.
`ranges("off")` rounds nothing: the same weights as a float network, to compare with.
`ranges("kernels")` rounds kernels only: what a graph is traced from whose kernels round inputs.
A mode is a Python value, read when a graph is traced: a compiled function keeps the mode that it
was traced in.

This is the only module that imports TFMOT, and only once something is quantized: TFMOT takes 2 s,
and sets an environment variable that turns `tf.keras` into Keras 2 (which is why nothing here uses
`tf.keras`).
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any, Literal

import keras

from models.layers.backend import matmul, ops
from models.layers.temporal import Tensor
from models.quantization_config import Rounding

RangeMode = Literal["frozen", "calibrate", "observe", "off", "kernels"]
INITIAL_RANGE = 6.0
"""Half the range of an activation that was never observed, as TFMOT starts."""
SMALLEST_RANGE = 1e-6
WIDER = 1.003
"""Factor on the upper end of a calibrated range. Clipped features give ranges of round numbers, on
which other round numbers lie halfway between two steps, where TensorFlow and ONNX round apart."""
BLOCKS = (128, 64, 32, 16)
"""Inputs that share a scale in dynamic rounding, as ONNX Runtime's MatMulNBits has them."""
MAX_WASTE = 1.13
"""Padding that a block may cost: 269 inputs go to blocks of 32 (288), not of 128 (384)."""

_MODE: contextvars.ContextVar[RangeMode] = contextvars.ContextVar("ranges", default="frozen")


@contextlib.contextmanager
def ranges(mode: RangeMode) -> Iterator[None]:
    """Activation ranges follow `mode` in graphs that are traced (or run eagerly) inside."""
    token = _MODE.set(mode)
    try:
        yield
    finally:
        _MODE.reset(token)


def ranges_of_second_pass() -> RangeMode:
    """The mode in which what is traced now can be computed again: ranges have moved by then."""
    mode = _MODE.get()
    return "frozen" if mode in ("calibrate", "observe") else mode


@functools.cache
def _module() -> Any:
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("quantized: TFMOT's quantizers need Keras' TensorFlow backend")
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantizers


@functools.cache
def _quantizers() -> dict[str, Any]:
    quantizers = _module()
    activation = {"num_bits": 8, "per_axis": False, "symmetric": False, "narrow_range": False}
    kernel = {"num_bits": 8, "per_axis": True, "symmetric": True, "narrow_range": True}
    return {
        "kernel": quantizers.LastValueQuantizer(**kernel),
        "observe": quantizers.MovingAverageQuantizer(**activation),
        "calibrate": quantizers.AllValuesQuantizer(**activation),
    }


def quantize_kernel(kernel: Tensor) -> Tensor:
    """Rounds a kernel to its int8 grid; gradients pass as if it had not.

    Args:
      kernel: `[fan_in, fan_out]`, any float dtype.

    Returns: the same shape and dtype, `k * max|column| / 127` for integers k in [-127, 127].
    """
    if _MODE.get() == "off":
        return kernel
    values = ops.cast(ops.convert_to_tensor(kernel), "float32")
    # A column of zeros has no grid; it stays zero on any.
    high = ops.stop_gradient(ops.maximum(ops.max(ops.abs(values), axis=0), 1e-12))
    grid = {"min_var": -high, "max_var": high}
    return ops.cast(_quantizers()["kernel"](values, training=False, weights=grid), kernel.dtype)


def quantize_fixed(x: Tensor, low: float, high: float) -> Tensor:
    """Rounds activations to a uint8 grid over a range that is known beforehand.

    Args:
      x: any shape, float32.
      low: at most 0.
      high: at least 0.
    """
    if _MODE.get() in ("off", "kernels"):
        return x
    quantizers = _module()
    fixed = quantizers.FixedQuantizer(num_bits=8, init_min=low, init_max=high, narrow_range=False)
    return fixed(x, training=False, weights={})


def block_size(inputs: int) -> int:
    """Inputs of a product that share a scale: the most that don't pad by more than an eighth."""
    fitting = [block for block in BLOCKS if -(-inputs // block) * block <= MAX_WASTE * inputs]
    return fitting[0] if fitting else BLOCKS[-1]


def quantize_blocks(x: Tensor, block: int | None = None) -> Tensor:
    """Rounds each row to int8 in blocks, `scale = max|block| / 127`; gradients pass unchanged.

    Args:
      x: `[…, inputs]`; only the first axis may be unknown.
      block: inputs that share a scale; None for `block_size`.
    """
    if _MODE.get() in ("off", "kernels"):
        return x
    width = x.shape[-1]
    block = block or block_size(width)
    count = -(-width // block)
    values = ops.cast(x, "float32")
    padded = ops.pad(values, [(0, 0)] * (len(x.shape) - 1) + [(0, count * block - width)])
    rows = ops.reshape(padded, (-1, *x.shape[1:-1], count, block))
    # A block of zeros has no grid; it stays zero on any.
    high = ops.maximum(ops.max(ops.abs(rows), axis=-1, keepdims=True), 1e-30)
    rounded = ops.round(rows * (127.0 / high)) * (high / 127.0)
    rounded = ops.reshape(rounded, (-1, *x.shape[1:-1], count * block))[..., :width]
    return ops.cast(values + ops.stop_gradient(rounded - values), x.dtype)


class ActivationQuantizer(keras.layers.Layer):
    """Rounds the inputs of a product, in any shape `[…, inputs]`.

    Non-trainable weights with `moving_average`: `low` and `high`, float32 `[]`, the range (0 is
    always inside); gradients pass within it. With `dynamic`: none.

    Args:
      rounding: see `models.quantization_config.QuantizationConfig.qat_activations`.
      block: with dynamic, inputs that share a scale; None for `block_size`.
    """

    def __init__(
        self, rounding: Rounding = "moving_average", *, block: int | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        self.rounding = rounding
        self.block = block

    def build(self, input_shape: Any = None) -> None:
        """Adds the range's variables."""
        del input_shape
        if self.built:
            return
        self.built = True
        if self.rounding == "dynamic":
            return
        bounds = {"low": -INITIAL_RANGE, "high": INITIAL_RANGE}
        for name, value in bounds.items():
            initializer: Any = keras.initializers.Constant(value)
            variable = self.add_weight(
                name=name,
                shape=(),
                initializer=initializer,
                trainable=False,
                dtype="float32",
                autocast=False,
            )
            setattr(self, name, variable)

    def call(self, x: Tensor) -> Tensor:
        """Returns `x` on the grid, in its dtype; see `ranges` for when a range moves."""
        mode = _MODE.get()
        if mode in ("off", "kernels"):
            return x
        if self.rounding == "dynamic":
            return quantize_blocks(x, self.block)
        quantizer = _quantizers()["observe" if mode == "frozen" else mode]
        grid = {"min_var": self.low.value, "max_var": self.high.value}
        values = ops.cast(x, "float32")
        return ops.cast(quantizer(values, training=mode != "frozen", weights=grid), x.dtype)

    def forget(self) -> None:
        """Empties the range, for a calibration to fill."""
        self.low.assign(0.0)
        self.high.assign(0.0)

    def settle(self) -> None:
        """Ends a calibration: a range that it left empty (only zeros came) gets its first width."""
        if float(self.high.value) - float(self.low.value) < SMALLEST_RANGE:
            self.low.assign(-INITIAL_RANGE)
            self.high.assign(INITIAL_RANGE)
        self.high.assign(WIDER * self.high.value)


class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, optionally with both operands of its product on 8-bit grids.

    The bias stays float: an integer kernel adds it after the int32 sum was scaled.

    Args:
      units: width out.
      quantize: round the kernel, and inputs in this way; None rounds nothing.
    """

    def __init__(self, units: int, *, quantize: Rounding | None = None, **kwargs):
        super().__init__(units, **kwargs)
        self.input_quantizer = None
        if quantize:
            self.input_quantizer = ActivationQuantizer(quantize, name="input_quantizer")

    def build(self, input_shape: tuple) -> None:
        """Builds kernel, bias and the input's range."""
        super().build(input_shape)
        if self.input_quantizer is not None:
            self.input_quantizer.build()

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Returns `[…, units]`."""
        del training
        kernel = ops.cast(ops.convert_to_tensor(self.kernel), inputs.dtype)
        if self.input_quantizer is not None:
            inputs, kernel = self.input_quantizer(inputs), quantize_kernel(kernel)
        y = matmul(inputs, kernel)
        return y if self.bias is None else y + ops.cast(self.bias, y.dtype)


@contextlib.contextmanager
def calibrating(layer: Any) -> Iterator[None]:
    """Every range under a layer or model becomes the extremes of what is seen inside."""
    found = activation_quantizers(layer)
    for quantizer in found:
        quantizer.forget()
    with ranges("calibrate"):
        yield
    for quantizer in found:
        quantizer.settle()


def activation_quantizers(layer: Any) -> list[ActivationQuantizer]:
    """Every quantizer with a range under a layer or model, in a stable order."""
    found = (x for x in layer._flatten_layers() if isinstance(x, ActivationQuantizer))
    return [x for x in found if x.rounding == "moving_average"]

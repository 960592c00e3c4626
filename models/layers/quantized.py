"""Quantization-aware training: TFMOT's quantizers, hosted in Keras 3 layers.

TFMOT's own `quantize_model` refuses Keras 3 models, and it could not reach inside a Mamba block or
an attention layer. Its quantizers can be called with the variables of any layer, though, and that
is all there is to it (Jacob et al. 2017, https://arxiv.org/abs/1712.05877, §3):

- A kernel lies on a symmetric int8 grid per output channel, `scale = max|w| / 127` of its present
  values. The range is computed, not stored: a stored one would be stale for averaged weights.
- An activation lies on an asymmetric uint8 grid per tensor; its range is two variables of the
  layer, a moving average of batch extremes while they are observed.

Ranges move only inside `ranges("calibrate")` (extremes of all that is seen) or `ranges("observe")`
(moving average, for training). Everywhere else, in validation, play and export, they are constants.
`ranges("off")` rounds nothing: the same weights as a float network, to compare with.
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

RangeMode = Literal["frozen", "calibrate", "observe", "off"]
INITIAL_RANGE = 6.0
"""Half the range of an activation that was never observed, as TFMOT starts."""
SMALLEST_RANGE = 1e-6

_MODE: contextvars.ContextVar[RangeMode] = contextvars.ContextVar("ranges", default="frozen")


@contextlib.contextmanager
def ranges(mode: RangeMode) -> Iterator[None]:
    """Activation ranges follow `mode` in graphs that are traced (or run eagerly) inside."""
    token = _MODE.set(mode)
    try:
        yield
    finally:
        _MODE.reset(token)


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
    if _MODE.get() == "off":
        return x
    quantizers = _module()
    fixed = quantizers.FixedQuantizer(num_bits=8, init_min=low, init_max=high, narrow_range=False)
    return fixed(x, training=False, weights={})


class ActivationQuantizer(keras.layers.Layer):
    """Rounds activations of any shape to a uint8 grid; gradients pass where they lie in range.

    Non-trainable weights: `low` and `high`, float32 `[]`, the range (0 is always inside).
    """

    def build(self, input_shape: Any = None) -> None:
        """Adds the range's variables."""
        del input_shape
        if self.built:
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
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Returns `x` on the grid, in its dtype; see `ranges` for when the grid moves."""
        mode = _MODE.get()
        if mode == "off":
            return x
        quantizer = _quantizers()["observe" if mode == "frozen" else mode]
        grid = {"min_var": self.low.value, "max_var": self.high.value}
        values = ops.cast(x, "float32")
        return ops.cast(quantizer(values, training=mode != "frozen", weights=grid), x.dtype)

    def forget(self) -> None:
        """Empties the range, for a calibration to fill."""
        self.low.assign(0.0)
        self.high.assign(0.0)

    def settle(self) -> None:
        """Gives a range that a calibration left empty (nothing but zeros came) its first width."""
        if float(self.high.value) - float(self.low.value) < SMALLEST_RANGE:
            self.low.assign(-INITIAL_RANGE)
            self.high.assign(INITIAL_RANGE)


class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, optionally with both operands of its product on 8-bit grids.

    The bias stays float: an integer kernel adds it after the int32 sum was scaled.

    Args:
      units: width out.
      quantize: round kernel and inputs.
    """

    def __init__(self, units: int, *, quantize: bool = False, **kwargs):
        super().__init__(units, **kwargs)
        self.input_quantizer = ActivationQuantizer(name="input_quantizer") if quantize else None

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


def activation_quantizers(layer: Any) -> list[ActivationQuantizer]:
    """Every activation quantizer under a layer or model, in a stable order."""
    return [x for x in layer._flatten_layers() if isinstance(x, ActivationQuantizer)]

"""Integer matrix products: turns `QuantizeLinear -> DequantizeLinear -> MatMul` into one kernel.

A quantization-aware policy leaves tf2onnx with its activations behind QuantizeLinear and
DequantizeLinear and its weights as float32 that lie on their int8 grid (grappler folds the
rounding). ONNX Runtime would multiply those in float. Here the grid is found again from the values
(`scale = max|column| / 127`, or another whole number of steps where a kernel was cut), weights are
stored as 8 bits, and the product becomes one operator:

- *static*: QuantizeLinear with the trained range, MatMulIntegerToFloat (u8 × s8, int32 sums). What
  Keras' fake-quantized product rounds to, row by row; the form to hold parity against. (Halfway
  between two steps TensorFlow rounds up and ONNX to even. A range of round numbers makes round
  activations such ties: with ±10, ±2 is 25.5 steps. Ranges should be no round numbers.)
- *dynamic*: MatMulNBits (8 bits, accuracy level 4) on the float activation. The kernel quantizes
  each row in blocks of the input, by what is there, to int8, which training does alike
  (`models.layers.quantized.quantize_blocks`). It saves a node per product: at batch 1 it is ONNX
  Runtime's fastest 8-bit product.

µs per product, one core, batch 1, warm (AVX-512 VNNI, ONNX Runtime 1.31; `static` with its
QuantizeLinear):

    K × N          float32   DynamicQuantizeMatMul   static   MatMulNBits, block 128 (32)
    384 × 256      7.6       3.1                     3.6      2.7 (3.5)
    256 × 1024     23.3      9.7                     10.1     5.9 (8.1)
    512 × 48       1.6       1.1                     1.3      1.0 (1.2)
    16 × 512       0.6       2.3                     2.5      2.0 (1.4)
    512 × 256      11.6      4.3                     4.8      3.8 (4.9)
    64 × 17        0.2       0.7                     0.9      0.7 (0.7)

u8 × u8 (no saturation on processors without VNNI) costs 10 to 20 % more than u8 × s8 here; the
loader asks ONNX Runtime for it where it is needed (`session.x64quantprecision`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from onnx import NodeProto, helper

from exphil_tf.exporting.onnx.graph import CONTRIB, Graph
from models.layers.quantized import block_size

Activations = Literal["static", "dynamic"]

STEPS = 127
"""Steps from 0 to the largest weight of a column."""
TOLERANCE = 1e-3
"""Farthest a weight may lie from its grid, in steps."""
_ZERO = 128
"""What 0 is stored as in MatMulNBits' unsigned bytes."""


class NotOnGrid(ValueError):
    """Weights that were not rounded to int8."""


@dataclass(frozen=True)
class QuantizedWeight:
    """A kernel in 8 bits."""

    values: np.ndarray
    """int8 `[inputs, outputs]`."""
    scales: np.ndarray
    """float32 `[outputs]`, the size of a step."""


def quantized_weight(weight: np.ndarray) -> QuantizedWeight:
    """Finds the int8 grid that each column of a float32 kernel lies on.

    Args:
      weight: float32 `[inputs, outputs]`.

    Raises: NotOnGrid: if a column lies on none.
    """
    weight = np.asarray(weight, np.float32)
    high = np.abs(weight).max(axis=0)
    scales = np.where(high > 0, high, 1.0).astype(np.float32) / np.float32(STEPS)
    off = _off_grid(weight, scales)
    # A kernel that was cut by rows need not hold the entry that is 127 steps high.
    for steps in range(STEPS - 1, 0, -1):
        worse = off > TOLERANCE
        if not worse.any():
            break
        other = np.where(worse, high / np.float32(steps), scales).astype(np.float32)
        found = _off_grid(weight, other)
        scales, off = np.where(found < off, other, scales), np.minimum(found, off)
    if (off > TOLERANCE).any():
        column = int(off.argmax())
        raise NotOnGrid(
            f"weights are not on the int8 grid: column {column} is {off[column]:.3f} of a step off"
        )
    return QuantizedWeight(np.rint(weight / scales).astype(np.int8), scales)


def _off_grid(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
    steps = weight / scales
    return np.abs(steps - np.rint(steps)).max(axis=0)


@dataclass(frozen=True)
class _Activation:
    """The quantized left side of a product."""

    source: str
    """The float value before rounding."""
    quantized: str
    """The uint8 value."""
    scale: str
    zero: str


def quantize_products(
    graph: Graph,
    activations: Activations,
    *,
    blocks: Mapping[tuple[int, int], int] | None = None,
) -> int:
    """Turns every product with a constant into an integer kernel, in place.

    Args:
      graph: cleaned; its products are MatMul with an Add for the bias.
      activations: see the module.
      blocks: with dynamic, sizes for some products (inputs, outputs) instead of `block_size`'s.

    Returns: how many products were converted.

    Raises: NotOnGrid: naming the product, if its weights or its input are not quantized.
    """
    count = 0
    for node in list(graph.nodes):
        if node.op_type != "MatMul" or node.input[1] not in graph.constants:
            continue
        activation = _activation(graph, node.input[0])
        if activation is None and activations == "static":
            raise NotOnGrid(f"{node.output[0]}: the input of this product is not quantized")
        try:
            weight = quantized_weight(graph.constants[node.input[1]])
        except NotOnGrid as error:
            raise NotOnGrid(f"{node.output[0]}: {error}") from None
        bias, last = _bias(graph, node)
        options: dict[str, Any] = {"weight": weight, "bias": bias, "output": last.output[0]}
        if activation is not None and activations == "static":
            fused = _static(graph, activation, **options)
        else:
            shape = weight.values.shape
            block = (blocks or {}).get(shape) or block_size(shape[0])
            source = node.input[0] if activation is None else activation.source
            fused = _dynamic(graph, source, block=block, **options)
        graph.replace([node] if last is node else [node, last], [fused])
        count += 1
    graph.opsets[CONTRIB] = 1
    graph.sweep()
    return count


def _activation(graph: Graph, value: str) -> _Activation | None:
    back = graph.producer(value)
    if back is None or back.op_type != "DequantizeLinear":
        return None
    there = graph.producer(back.input[0])
    if there is None or there.op_type != "QuantizeLinear" or there.input[1:] != back.input[1:]:
        return None
    if any(graph.constant(v) is None or graph.constants[v].ndim for v in back.input[1:]):
        return None
    return _Activation(there.input[0], there.output[0], *back.input[1:])


def _bias(graph: Graph, product: NodeProto) -> tuple[str, NodeProto]:
    """The constant vector that only this product is added to ("" if none), and the last node."""
    value = product.output[0]
    reader = graph.consumers(value)[0] if graph.is_single_use(value) else None
    if reader is None or reader.op_type != "Add":
        return "", product
    other = reader.input[1] if reader.input[0] == value else reader.input[0]
    constant, width = graph.constant(other), graph.constants[product.input[1]].shape[1]
    if constant is None or constant.size != width or constant.shape[-1:] != (width,):
        return "", product
    return graph.add_constant(constant.reshape(width).astype(np.float32), f"{other}.row"), reader


def _static(
    graph: Graph, activation: _Activation, *, weight: QuantizedWeight, bias: str, output: str
) -> NodeProto:
    name = f"{output}.weight"
    inputs = [
        activation.quantized,
        graph.add_constant(weight.values, name),
        activation.scale,
        graph.add_constant(weight.scales, f"{name}.scale"),
        activation.zero,
        "",
        bias,
    ]
    while not inputs[-1]:
        inputs.pop()
    return helper.make_node("MatMulIntegerToFloat", inputs, [output], name=output, domain=CONTRIB)


def _dynamic(
    graph: Graph, source: str, *, weight: QuantizedWeight, bias: str, output: str, block: int
) -> NodeProto:
    inner, width = weight.values.shape
    blocks = -(-inner // block)
    packed = np.full((width, blocks * block), _ZERO, np.uint8)
    packed[:, :inner] = weight.values.T.astype(np.int16) + _ZERO
    scales = np.repeat(weight.scales[:, None], blocks, axis=1)
    name = f"{output}.weight"
    inputs = [
        source,
        graph.add_constant(packed.reshape(width, blocks, block), name),
        graph.add_constant(scales, f"{name}.scale"),
    ]
    attributes = {"K": inner, "N": width, "bits": 8, "block_size": block, "accuracy_level": 4}
    return helper.make_node(
        "MatMulNBits",
        [*inputs, "", "", bias] if bias else inputs,
        [output],
        name=output,
        domain=CONTRIB,
        **attributes,
    )

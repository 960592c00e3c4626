"""What shapes each operator that exports hold gives out: the list of operators a file may use.

An array whose numbers are not known is a view of a single zero with the right strides, which takes
no memory and lets numpy cut, turn and split it. Small integers are followed by value, as shapes are
computed from them; no rule adds or multiplies such a number, so that none can grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.inference.onnx_file import MAX_RANK, GraphNode, OnnxFileError

MAX_ELEMENTS = 1 << 25
"""Numbers in all results together; a row of a step has some ten thousand, a window millions."""
MANY_ROWS = 1009
"""A batch that no other size of a graph is likely to equal."""
_SHAPE_TYPES = (6, 7)
"""ONNX's numbers of int32 and int64."""
_SMALL = 1024
"""Numbers of the largest array that is followed by value."""

Shape = tuple[int, ...]


class Value(NamedTuple):
    """What is known of one result."""

    array: np.ndarray
    """The real thing, or a view of one zero with its shape."""
    is_known: bool = False

    @property
    def shape(self) -> Shape:
        """Sizes."""
        return self.array.shape


Inputs = Sequence["Value | None"]
Rule = Callable[[GraphNode, Inputs], list[Value]]


def unknown(shape: Sequence[int], limit: int = MANY_ROWS * MAX_ELEMENTS) -> Value:
    """A result of which only the shape is known; raises OnnxFileError if that is too large."""
    sizes = tuple(map(int, shape))
    if any(size < 0 for size in sizes) or len(sizes) > MAX_RANK or math.prod(sizes) > limit:
        raise OnnxFileError(f"a result of shape {list(sizes)!r:.80}, larger than a policy's")
    return Value(np.broadcast_to(np.int8(0), sizes))


def _given(inputs: Inputs, place: int) -> Value:
    found = inputs[place] if place < len(inputs) else None
    if found is None:
        raise ValueError(f"want input {place}")
    return found


def _numbers(inputs: Inputs, place: int) -> list[int]:
    """Integers that a shape depends on, which must be known."""
    value = _given(inputs, place)
    if not _is_followed(value):
        raise ValueError(f"want constant integers as input {place}")
    return value.array.reshape(-1).tolist()


def _is_followed(value: Value) -> bool:
    """Whether its numbers may decide shapes."""
    dtype = value.array.dtype
    return value.is_known and dtype in (np.int32, np.int64) and value.array.size <= _SMALL


def _optional(inputs: Inputs, place: int) -> list[int] | None:
    return _numbers(inputs, place) if place < len(inputs) and inputs[place] is not None else None


def _follow(made: Callable[..., Any], *values: Value) -> Value:
    """A view of what is there or not; known where all of it is."""
    return Value(made(*(v.array for v in values)), all(v.is_known for v in values))


def _axis(node: GraphNode, value: Value, default: int = -1) -> int:
    axis = node.attributes.get("axis", default)
    if not -value.array.ndim <= axis < value.array.ndim:
        raise ValueError(f"want an axis of {value.array.ndim}. Received: {axis}")
    return axis % value.array.ndim


def _same(_: GraphNode, inputs: Inputs) -> list[Value]:
    """Element by element, or along an axis: the first input's shape."""
    return [unknown(_given(inputs, 0).shape)]


def _cast(node: GraphNode, inputs: Inputs) -> list[Value]:
    """Of numbers that matter, only between types that hold them: a byte would cut them off."""
    value = _given(inputs, 0)
    is_wide = node.attributes.get("to") in _SHAPE_TYPES
    if is_wide and _is_followed(value) and _fits_int32(value.array):
        return [value]
    return [unknown(value.shape)]


def _broadcast(_: GraphNode, inputs: Inputs) -> list[Value]:
    return [unknown(np.broadcast_shapes(*(_given(inputs, i).shape for i in range(len(inputs)))))]


def _fits_int32(array: np.ndarray) -> bool:
    return array.min(initial=0) >= -(1 << 31) and array.max(initial=0) < 1 << 31


def _maximum(node: GraphNode, inputs: Inputs) -> list[Value]:
    """Followed by value, unlike sums and products: it makes no number that was not there."""
    values = [_given(inputs, i) for i in range(len(inputs))]
    if all(_is_followed(v) and v.array.size == 1 for v in values):
        return [_follow(lambda *arrays: np.max(np.broadcast_arrays(*arrays), axis=0), *values)]
    return _broadcast(node, inputs)


def _quantize_dynamically(_: GraphNode, inputs: Inputs) -> list[Value]:
    return [unknown(_given(inputs, 0).shape), unknown(()), unknown(())]


def _reduce(node: GraphNode, inputs: Inputs) -> list[Value]:
    value = _given(inputs, 0)
    if node.operator == "ArgMax":
        axes: Sequence[int] | None = [_axis(node, value, 0)]
    else:
        axes = _optional(inputs, 1)
        if not axes and not node.attributes.get("noop_with_empty_axes", 0):
            axes = range(value.array.ndim)
    keep = bool(node.attributes.get("keepdims", 1))
    # On one zero with strides: numpy adds nothing up here, it only counts sizes.
    gone = {_within(axis, value.array.ndim) for axis in axes or ()}
    sizes = [1 if i in gone else s for i, s in enumerate(value.shape) if keep or i not in gone]
    return [unknown(sizes)]


def _within(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"want an axis of {rank}. Received: {axis}")
    return axis % rank


def _concat(node: GraphNode, inputs: Inputs) -> list[Value]:
    values = [_given(inputs, i) for i in range(len(inputs))]
    axis = _axis(node, values[0])
    rests = {v.shape[:axis] + v.shape[axis + 1 :] for v in values}
    if len(rests) != 1:
        raise ValueError(f"want equal shapes. Received: {sorted(rests)!r:.80}")
    size = sum(v.shape[axis] for v in values)
    if all(map(_is_followed, values)) and len(values) <= _SMALL:
        return [_follow(lambda *arrays: np.concatenate(arrays, axis), *values)]
    return [unknown((*values[0].shape[:axis], size, *values[0].shape[axis + 1 :]))]


def _expand(_: GraphNode, inputs: Inputs) -> list[Value]:
    return [unknown(np.broadcast_shapes(_given(inputs, 0).shape, tuple(_numbers(inputs, 1))))]


def _gather(node: GraphNode, inputs: Inputs) -> list[Value]:
    value, index = _given(inputs, 0), _given(inputs, 1)
    axis = _axis(node, value, 0)
    if (
        _is_followed(value)
        and _is_followed(index)
        and value.array.size * index.array.size <= _SMALL
    ):
        return [_follow(lambda a, i: np.take(a, i, axis), value, index)]
    return [unknown((*value.shape[:axis], *index.shape, *value.shape[axis + 1 :]))]


def _gather_nd(node: GraphNode, inputs: Inputs) -> list[Value]:
    value, index = _given(inputs, 0).shape, _given(inputs, 1).shape
    shared = node.attributes.get("batch_dims", 0)
    if not 0 <= shared < min(len(index), len(value)) or value[:shared] != index[:shared]:
        raise ValueError(f"want {shared} equal axes. Received: {list(value)}, {list(index)}")
    if not 1 <= index[-1] <= len(value) - shared:
        raise ValueError(f"want places of {list(value)}. Received: {list(index)}")
    return [unknown((*index[:-1], *value[shared + index[-1] :]))]


def _matmul(_: GraphNode, inputs: Inputs) -> list[Value]:
    left, right = _given(inputs, 0).shape, _given(inputs, 1).shape
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise ValueError(f"want matrices that fit. Received: {left} and {right}")
    lead = np.broadcast_shapes(left[:-2], right[:-2])
    return [unknown((*lead, left[-2], right[-1]))]


def _matmul_integer(node: GraphNode, inputs: Inputs) -> list[Value]:
    """A, B, their zero points (one; one or one a column)."""
    (result,) = _matmul(node, inputs)
    for place, wanted in ((2, (1,)), (3, (1, result.shape[-1]))):
        extra = inputs[place] if place < len(inputs) else None
        if extra is not None and extra.array.size not in wanted:
            raise ValueError(f"want {wanted[-1]} numbers. Received: {extra.array.size}")
    return [result]


def _matmul_to_float(node: GraphNode, inputs: Inputs) -> list[Value]:
    """A, B, their scales, their zero points, bias (each for all columns or for each)."""
    (result,) = _matmul(node, inputs)
    columns = _given(inputs, 1).shape[-1]
    for extra in inputs[2:]:
        if extra is not None and extra.array.size not in (1, columns):
            raise ValueError(f"want 1 or {columns} numbers. Received: {extra.array.size}")
    return [result]


def _matmul_packed(node: GraphNode, inputs: Inputs) -> list[Value]:
    """Weights in blocks along their inputs: `[N, blocks, bytes]`, a scale for each block."""
    value, weights, scales = (_given(inputs, i) for i in range(3))
    wide, inner, block, bits = (
        node.attributes.get(name, default)
        for name, default in (("N", 0), ("K", 0), ("block_size", 0), ("bits", 4))
    )
    if bits not in (2, 4, 8) or block < 16 or block & (block - 1) or min(wide, inner) < 1:
        raise ValueError(f"want blocks. Received: N={wide}, K={inner}, {block} of {bits} bits")
    blocks = -(-inner // block)
    wanted = (wide, blocks, block * bits // 8)
    if value.shape[-1:] != (inner,) or weights.shape != wanted:
        raise ValueError(f"want {wanted} for K={inner}. Received: {weights.shape}, {value.shape}")
    if scales.array.size != wide * blocks:
        raise ValueError(f"want {wide * blocks} scales. Received: {scales.array.size}")
    if len(inputs) > 5 and inputs[5] is not None and inputs[5].shape != (wide,):
        raise ValueError(f"want a bias of {wide}. Received: {inputs[5].shape}")
    if any(extra is not None for extra in (*inputs[3:5], *inputs[6:])):
        raise ValueError("want neither zero points nor an order of groups")
    return [unknown((*value.shape[:-1], wide))]


def _skip_norm(_: GraphNode, inputs: Inputs) -> list[Value]:
    """Two summands of one shape, then numbers of a row: scale, shift, bias."""
    value, other = _given(inputs, 0), _given(inputs, 1)
    if value.shape != other.shape or any(
        extra is not None and extra.shape != value.shape[-1:] for extra in inputs[2:]
    ):
        raise ValueError("want two equal shapes and one number a column")
    # Mean and inverse deviation, which nobody asks for, and the sum.
    return [unknown(value.shape)] * 4


def _norm(node: GraphNode, inputs: Inputs) -> list[Value]:
    """Along the last axis, with a scale and a shift of its size."""
    value = _given(inputs, 0)
    if _axis(node, value) != value.array.ndim - 1 or any(
        extra is not None and extra.shape != value.shape[-1:] for extra in inputs[1:]
    ):
        raise ValueError("want the last axis and one number a column")
    return [unknown(value.shape)]


def _one_hot(node: GraphNode, inputs: Inputs) -> list[Value]:
    index = _given(inputs, 0).shape
    (depth,) = _numbers(inputs, 1)
    if node.attributes.get("axis", -1) != -1:
        raise ValueError("want the last axis")
    return [unknown((*index, depth))]


def _pad(_: GraphNode, inputs: Inputs) -> list[Value]:
    shape, pads = _given(inputs, 0).shape, _numbers(inputs, 1)
    if len(pads) != 2 * len(shape) or min(pads, default=0) < 0 or _optional(inputs, 3) is not None:
        raise ValueError(f"want pads of each axis, none negative. Received: {pads!r:.80}")
    sides = zip(shape, pads[: len(shape)], pads[len(shape) :], strict=True)
    return [unknown([size + before + after for size, before, after in sides])]


def _reshape(node: GraphNode, inputs: Inputs) -> list[Value]:
    value, sizes = _given(inputs, 0), _numbers(inputs, 1)
    if node.attributes.get("allowzero", 0) or len(sizes) > MAX_RANK:
        raise ValueError(f"want a shape. Received: {sizes!r:.80}")
    wanted = [value.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    rest = math.prod(size for size in wanted if size != -1)
    if wanted.count(-1) == 1 and rest and value.array.size % rest == 0:
        wanted[wanted.index(-1)] = value.array.size // rest
    if min(wanted, default=0) < 0 or math.prod(wanted) != value.array.size:
        raise ValueError(f"want {value.array.size:,} numbers. Received: {sizes!r:.80}")
    if _is_followed(value):
        return [_follow(lambda a: a.reshape(wanted), value)]
    return [unknown(wanted)]


def _shape(node: GraphNode, inputs: Inputs) -> list[Value]:
    if node.attributes.keys() & {"start", "end"}:
        raise ValueError("want the whole shape")
    return [Value(np.array(_given(inputs, 0).shape, np.int64), is_known=True)]


def _slice(_: GraphNode, inputs: Inputs) -> list[Value]:
    value, starts, stops = _given(inputs, 0), _numbers(inputs, 1), _numbers(inputs, 2)
    axes = _optional(inputs, 3) or list(range(len(starts)))
    if any(step != 1 for step in _optional(inputs, 4) or ()):
        raise ValueError("want steps of 1")
    index = [slice(None)] * value.array.ndim
    for start, stop, axis in zip(starts, stops, axes, strict=True):
        index[_within(axis, value.array.ndim)] = slice(start, stop)
    return [_follow(lambda a: a[tuple(index)], value)]


def _split(node: GraphNode, inputs: Inputs) -> list[Value]:
    value = _given(inputs, 0)
    axis, sizes = _axis(node, value, 0), _optional(inputs, 1)
    if sizes is None:
        count = len(node.outputs)
        each = -(-value.shape[axis] // max(count, 1))
        sizes = [each] * (count - 1) + [value.shape[axis] - each * (count - 1)]
    if min(sizes, default=-1) < 0 or sum(sizes) != value.shape[axis]:
        raise ValueError(f"want parts of {value.shape[axis]}. Received: {sizes!r:.80}")
    parts = np.split(value.array, np.cumsum(sizes[:-1]), axis)
    return [Value(part, value.is_known) for part in parts]


def _squeeze(_: GraphNode, inputs: Inputs) -> list[Value]:
    axes = tuple(_numbers(inputs, 1))
    return [_follow(lambda a: np.squeeze(a, axes), _given(inputs, 0))]


def _unsqueeze(_: GraphNode, inputs: Inputs) -> list[Value]:
    axes = tuple(_numbers(inputs, 1))
    if len(axes) > MAX_RANK:
        raise ValueError(f"want some axes. Received: {len(axes)}")
    return [_follow(lambda a: np.expand_dims(a, axes), _given(inputs, 0))]


def _tile(_: GraphNode, inputs: Inputs) -> list[Value]:
    shape, repeats = _given(inputs, 0).shape, _numbers(inputs, 1)
    if min(repeats, default=0) < 0:
        raise ValueError(f"want repeats. Received: {repeats!r:.80}")
    return [unknown([size * times for size, times in zip(shape, repeats, strict=True)])]


def _transpose(node: GraphNode, inputs: Inputs) -> list[Value]:
    order = node.attributes.get("perm")
    return [_follow(lambda a: np.transpose(a, order), _given(inputs, 0))]


_ELEMENTWISE = (
    "Abs CumSum DequantizeLinear Erf Exp Log Neg Not QuantizeLinear Relu Round Sigmoid Softmax "
    "Sqrt Tanh"
)
_PAIRED = "Add Div Equal Greater Less LessOrEqual Min Mod Mul Sub Where"
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _same),
    **dict.fromkeys(_PAIRED.split(), _broadcast),
    "ArgMax": _reduce,
    "Cast": _cast,
    "Concat": _concat,
    "DynamicQuantizeLinear": _quantize_dynamically,
    "Expand": _expand,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "LayerNormalization": _norm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul_integer,
    "Max": _maximum,
    "OneHot": _one_hot,
    "Pad": _pad,
    "RMSNormalization": _norm,
    "ReduceSum": _reduce,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "com.microsoft.MatMulIntegerToFloat": _matmul_to_float,
    "com.microsoft.MatMulNBits": _matmul_packed,
    "com.microsoft.SkipLayerNormalization": _skip_norm,
    "com.microsoft.SkipSimplifiedLayerNormalization": _skip_norm,
}
"""Operators that exports hold, and no others (a test says so)."""

"""Removes from a traced graph what tf2onnx leaves in it and ONNX Runtime doesn't take out.

New axes (`x[:, None]`) become an Unsqueeze and a Slice that takes all, a choice (`tf.where`) five
nodes of arithmetic, and every bucket that is looked up is cast on its way. Each node costs a third
of a microsecond and up at batch 1, whatever it does. Where sizes are known (a fixed batch, a
window), tf2onnx folds products into Gemm or between two Reshapes, where no integer kernel is found
for them.

The rewrites here use ONNX's own operators only, and change no result by a bit but one: tf2onnx
writes the remainder of integers as `x - x / n * n`, whose division cuts toward zero where
TensorFlow's rounds down, so that remainders of negative numbers came out negative.

What ONNX Runtime does by itself when it loads a graph is not done here, and what saves a node or
two is not worth its lines: docs/adr/0006 has the figures, `tests/exporting/onnx/test_ablation.py`
asks that every rule pays.
"""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from exphil_tf.exporting.onnx.graph import Graph, attribute, until_stable


def clean(graph: Graph) -> dict[str, int]:
    """Applies every rewrite of this module until nothing changes; returns counts by name."""
    counts = dict.fromkeys(RULES, 0)
    again = True
    while again:
        found = {name: until_stable(graph, rule) for name, rule in RULES.items()}
        graph.sweep()
        again = any(found.values())
        counts = {name: counts[name] + n for name, n in found.items()}
    return counts


def split_gemm(graph: Graph, node: NodeProto) -> bool:
    """Gemm becomes MatMul and Add, which `int8` and ONNX Runtime's own quantization know."""
    if node.op_type != "Gemm" or not _is_plain_gemm(node):
        return False
    product = graph.fresh(f"{node.output[0]}.product")
    nodes = [helper.make_node("MatMul", node.input[:2], [product])]
    summand = node.input[2] if len(node.input) > 2 else ""
    if summand:
        nodes.append(helper.make_node("Add", [product, summand], [node.output[0]]))
    else:
        nodes[0].output[0] = node.output[0]
    graph.replace([node], nodes)
    return True


def drop_whole_slice(graph: Graph, node: NodeProto) -> bool:
    """A Slice that takes everything."""
    if node.op_type != "Slice":
        return False
    parts = [graph.constant(value) for value in node.input[1:] if value]
    if len(parts) < 2 or any(part is None for part in parts):
        return False
    starts, ends, *rest = (np.atleast_1d(part) for part in parts if part is not None)
    steps = rest[1] if len(rest) > 1 else np.ones_like(starts)
    shape = graph.shape(node.input[0])
    axes = rest[0] if rest else np.arange(len(starts))
    far = [
        end >= 10**9 or (shape is not None and shape[axis] == end)
        for axis, end in zip(axes, ends, strict=True)
    ]
    if (starts != 0).any() or (steps != 1).any() or not all(far):
        return False
    return graph.bypass(node)


def fold_tensordot(graph: Graph, node: NodeProto) -> bool:
    """`reshape(reshape(x) @ w)` becomes `x @ w` where only leading axes were joined meanwhile."""
    if node.op_type != "MatMul" or graph.rank(node.input[1]) != 2:
        return False
    join = graph.producer(node.input[0])
    readers = graph.consumers(node.output[0]) if graph.is_single_use(node.output[0]) else []
    if join is None or join.op_type != "Reshape" or not readers or readers[0].op_type != "Reshape":
        return False
    part, weight = readers[0], graph.shape(node.input[1])
    shapes = graph.shape(join.input[0]), graph.shape(part.output[0])
    if None in shapes or weight is None:
        return False
    before, after = (list(shape or ()) for shape in shapes)
    if before[-1:] != weight[:1] or after[-1:] != weight[1:]:
        return False
    if not same_shape(before[:-1], after[:-1]):
        return False
    product = helper.make_node("MatMul", [join.input[0], node.input[1]], [part.output[0]])
    graph.replace([node, part], [product])
    return True


def fold_choice(graph: Graph, node: NodeProto) -> bool:
    """`cast(c) * a + cast(not c) * b` is a choice between a and b."""
    products = [graph.producer(v) for v in node.input] if node.op_type == "Add" else []
    sides: dict[bool, tuple[str, str]] = {}
    for product in products:
        if product is None or product.op_type != "Mul":
            return False
        for place in (0, 1):
            condition = _condition(graph, product.input[place])
            if condition is not None:
                sides[condition[1]] = condition[0], product.input[1 - place]
    if len(sides) != 2 or sides[True][0] != sides[False][0]:
        return False
    condition, chosen = sides[True]
    choice = helper.make_node("Where", [condition, chosen, sides[False][1]], node.output)
    graph.replace([node], [choice])
    graph.sweep()
    return True


def repair_remainder(graph: Graph, node: NodeProto) -> bool:
    """`x - x / n * n` of integers is meant to be the remainder of a division that rounds down."""
    times = graph.producer(node.input[1]) if node.op_type == "Sub" else None
    if times is None or times.op_type != "Mul":
        return False
    for quotient, divisor in (times.input, reversed(times.input)):
        divide = graph.producer(quotient)
        if divide is None or divide.op_type != "Div":
            continue
        if list(divide.input) == [node.input[0], divisor] and _is_integer(graph, node.input[0]):
            graph.replace([node], [helper.make_node("Mod", divide.input, node.output)])
            graph.sweep()
            return True
    return False


def read_before_cast(graph: Graph, node: NodeProto) -> bool:
    """Gather takes int64 as well as int32: it need not wait for a Cast."""
    cast = graph.producer(node.input[1]) if node.op_type == "Gather" else None
    if cast is None or cast.op_type != "Cast" or _dtype(graph, cast.input[0]) != TensorProto.INT64:
        return False
    node.input[1] = cast.input[0]
    graph.touch()
    return True


def cast_once(graph: Graph, node: NodeProto) -> bool:
    """A Concat of values that are all cast alike: cast what is joined."""
    if node.op_type != "Concat" or len(node.input) < 2:
        return False
    casts = [graph.producer(value) for value in node.input]
    if any(c is None or c.op_type != "Cast" for c in casts):
        return False
    found = [c for c in casts if c is not None]
    kinds = {(_dtype(graph, c.input[0]), attribute(c, "to")) for c in found}
    if len(kinds) != 1 or TensorProto.UNDEFINED in next(iter(kinds)):
        return False
    joined = graph.fresh(f"{node.output[0]}.joined")
    axis, target = attribute(node, "axis"), attribute(found[0], "to")
    concat = helper.make_node("Concat", [c.input[0] for c in found], [joined], axis=axis)
    graph.replace([node], [concat, helper.make_node("Cast", [joined], node.output, to=target)])
    graph.sweep()
    return True


def same_shape(one: list[int | str], other: list[int | str]) -> bool:
    """Whether two shapes are equal. Only the batch is symbolic here, whatever it is called."""
    return [d if isinstance(d, int) else "" for d in one] == [
        d if isinstance(d, int) else "" for d in other
    ]


RULES = {
    "gemm": split_gemm,
    "slice": drop_whole_slice,
    "tensordot": fold_tensordot,
    "choice": fold_choice,
    "remainder": repair_remainder,
    "gather": read_before_cast,
    "casts": cast_once,
}


def _is_plain_gemm(node: NodeProto) -> bool:
    return not any(attribute(node, name, 0) for name in ("transA", "transB")) and all(
        attribute(node, name, 1.0) == 1.0 for name in ("alpha", "beta")
    )


def _condition(graph: Graph, value: str) -> tuple[str, bool] | None:
    """The bool that a number is cast from and whether it was not negated."""
    cast = graph.producer(value)
    if cast is None or cast.op_type != "Cast" or _dtype(graph, cast.input[0]) != TensorProto.BOOL:
        return None
    negation = graph.producer(cast.input[0])
    if negation is not None and negation.op_type == "Not":
        return negation.input[0], False
    return cast.input[0], True


def _is_integer(graph: Graph, value: str) -> bool:
    return _dtype(graph, value) in (TensorProto.INT32, TensorProto.INT64)


def _dtype(graph: Graph, value: str) -> int:
    if value in graph.constants:
        return helper.np_dtype_to_tensor_dtype(graph.constants[value].dtype)
    info = graph.value_info.get(value)
    for port in (*graph.inputs, *graph.outputs):
        info = port if port.name == value else info
    return info.type.tensor_type.elem_type if info is not None else TensorProto.UNDEFINED


def with_shapes(model: onnx.ModelProto) -> Graph:
    """Takes a model apart, with the shapes and types of all values where onnx can infer them."""
    return Graph(onnx.shape_inference.infer_shapes(model, data_prop=True))

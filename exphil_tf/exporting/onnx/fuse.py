"""Rewrites chains of nodes into single operators of ONNX Runtime (domain com.microsoft among them).

Measured on one core, batch 1, width 256 to 512: a small node costs 0.25 to 0.4 µs, of which next to
nothing is arithmetic. A root-mean-square norm is seven nodes as TensorFlow writes it and one here.

    x / sqrt(mean(x²) + eps) * gamma        -> RMSNormalization
    (x - mean) / sqrt(var + eps) * g + b    -> LayerNormalization
    norm(a + b), with a + b read elsewhere  -> SkipSimplifiedLayerNormalization, SkipLayerNorm…
    softplus(x)                             -> log(1 + exp(min(x, 80)))
    sum over the last axis but one          -> ones @ x

ONNX Runtime's Softplus is a scalar loop, 5.8 µs for 512 numbers where Exp and Log together take
under 1; up to 80, where float32's exp still is finite, the two differ by rounding (6e-8 absolute).
A sum over 4 rows of 512 takes 1.9 µs by
ReduceSum and 0.6 by MatMul. CausalConvWithState, which would be a whole Mamba convolution with its
memory, takes 5.7 µs where Concat, Mul, MatMul, Add, QuickGelu and Slice take under 4.
"""

from typing import NamedTuple

import numpy as np
from onnx import NodeProto, helper

from exphil_tf.exporting.onnx.clean import same_shape
from exphil_tf.exporting.onnx.graph import CONTRIB, Graph, attribute, until_stable

SOFTPLUS_LIMIT = 80.0
_RMS_OPSET = 23


def fuse(graph: Graph) -> dict[str, int]:
    """Applies every fusion once; returns counts by name."""
    counts = {name: until_stable(graph, rule) for name, rule in RULES.items()}
    # RMSNormalization exists from this opset on; older operators in the graph mean the same there.
    graph.opsets[""] = max(graph.opsets[""], _RMS_OPSET)
    graph.opsets[CONTRIB] = 1
    graph.sweep()
    return counts


def spread_softplus(graph: Graph, node: NodeProto) -> bool:
    """Softplus by vectorised operators."""
    if node.op_type != "Softplus":
        return False
    x, y = node.input[0], node.output[0]
    low, power, total = (graph.fresh(f"{y}.{part}") for part in ("min", "exp", "add"))
    limit = graph.add_constant(np.array(SOFTPLUS_LIMIT, np.float32), "softplus_limit")
    one = graph.add_constant(np.array(1, np.float32), "softplus_one")
    nodes = [
        helper.make_node("Min", [x, limit], [low]),
        helper.make_node("Exp", [low], [power]),
        helper.make_node("Add", [power, one], [total]),
        helper.make_node("Log", [total], [y]),
    ]
    graph.replace([node], nodes)
    return True


def sum_by_product(graph: Graph, node: NodeProto) -> bool:
    """A sum over rows that keeps its axis."""
    if node.op_type != "ReduceSum" or attribute(node, "keepdims", 1) != 1 or len(node.input) < 2:
        return False
    axes, shape = graph.constant(node.input[1]), graph.shape(node.input[0])
    if axes is None or axes.size != 1 or shape is None or len(shape) < 3:
        return False
    rows = shape[-2]
    if int(axes.reshape(())) not in (-2, len(shape) - 2) or not isinstance(rows, int):
        return False
    ones = graph.add_constant(np.ones((*[1] * (len(shape) - 1), rows), np.float32), "ones")
    graph.replace([node], [helper.make_node("MatMul", [ones, node.input[0]], node.output)])
    return True


class _Scale(NamedTuple):
    """`1 / sqrt(mean(d * d) + epsilon)` over the last axis."""

    centred: str
    """d, the value that is squared."""
    inverse: str
    """The value that holds the result."""
    epsilon: float


def _inverse_deviation(graph: Graph, node: NodeProto) -> _Scale | None:
    """Reads the chain Mul, ReduceMean, Add, Sqrt, Reciprocal backwards from its last node."""
    if node.op_type != "Reciprocal":
        return None
    root = _made_by(graph, node.input[0], "Sqrt")
    total = _made_by(graph, root.input[0], "Add") if root else None
    if total is None:
        return None
    values, epsilon = list(total.input), graph.scalar(total.input[1])
    if epsilon is None:
        values, epsilon = values[::-1], graph.scalar(total.input[0])
    mean = _made_by(graph, values[0], "ReduceMean")
    square = _made_by(graph, mean.input[0], "Mul") if mean and _last_axis(graph, mean) else None
    if epsilon is None or square is None or square.input[0] != square.input[1]:
        return None
    return _Scale(square.input[0], node.output[0], epsilon)


def fuse_rms_norm(graph: Graph, node: NodeProto) -> bool:
    """A product of x and 1 / rms(x), and of gamma if there is one: `x * r * g` or `x * (r * g)`."""
    scale = _inverse_deviation(graph, node)
    last = _only_reader(graph, scale.inverse) if scale is not None else None
    if scale is None or last is None or last.op_type != "Mul":
        return False
    gamma, other = None, _other(last, scale.inverse)
    if other != scale.centred:
        gamma, value = graph.constant(other), last.output[0]
        last = _only_reader(graph, value)
        if gamma is None or last is None or last.op_type != "Mul":
            return False
        if _other(last, value) != scale.centred:
            return False
    else:
        follower = _only_reader(graph, last.output[0])
        if follower is not None and follower.op_type == "Mul":
            vector = graph.constant(_other(follower, last.output[0]))
            if vector is not None and vector.ndim and vector.size == vector.shape[-1] > 1:
                gamma, last = vector, follower
    gain = _row(graph, gamma, like=scale.centred, fill=1.0)
    if gain is None:
        return False
    norm = helper.make_node(
        "RMSNormalization", [scale.centred, gain], [last.output[0]], epsilon=scale.epsilon
    )
    graph.replace([last], [norm])
    graph.sweep()
    return True


def fuse_layer_norm(graph: Graph, node: NodeProto) -> bool:
    """Keras' LayerNormalization: `x * (r * g) + (b - mean * (r * g))`."""
    scale = _inverse_deviation(graph, node)
    centre = _made_by(graph, scale.centred, "Sub") if scale else None
    if scale is None or centre is None:
        return False
    x, mean = centre.input
    mean_of = _made_by(graph, mean, "ReduceMean")
    if mean_of is None or mean_of.input[0] != x or not _last_axis(graph, mean_of):
        return False
    factor, gamma = scale.inverse, None
    follower = _only_reader(graph, factor)
    if follower is not None and follower.op_type == "Mul":
        other = follower.input[1] if follower.input[0] == factor else follower.input[0]
        gamma = graph.constant(other)
        if gamma is None:
            return False
        factor = follower.output[0]
    found = _affine_tail(graph, x=x, mean=mean, factor=factor)
    if found is None:
        return False
    last, beta = found
    gain = _row(graph, gamma, like=x, fill=1.0)
    bias = _row(graph, beta, like=x, fill=0.0)
    if gain is None or bias is None:
        return False
    norm = helper.make_node(
        "LayerNormalization", [x, gain, bias], [last.output[0]], axis=-1, epsilon=scale.epsilon
    )
    graph.replace([last], [norm])
    graph.sweep()
    return True


def fuse_centred_norm(graph: Graph, node: NodeProto) -> bool:
    """A root-mean-square norm of x less its mean is a layer norm."""
    centre = _made_by(graph, node.input[0], "Sub") if node.op_type == "RMSNormalization" else None
    mean = _made_by(graph, centre.input[1], "ReduceMean") if centre is not None else None
    if centre is None or mean is None or mean.input[0] != centre.input[0]:
        return False
    gain = graph.constant(node.input[1])
    if gain is None or not _last_axis(graph, mean):
        return False
    bias = graph.add_constant(np.zeros_like(gain), "norm_row")
    norm = helper.make_node(
        "LayerNormalization",
        [centre.input[0], node.input[1], bias],
        node.output,
        axis=-1,
        epsilon=attribute(node, "epsilon"),
    )
    graph.replace([node], [norm])
    graph.sweep()
    return True


def _affine_tail(
    graph: Graph, *, x: str, mean: str, factor: str
) -> tuple[NodeProto, np.ndarray | None] | None:
    """The Add that joins `x * factor` and `b - mean * factor`, and b (None where it is zero)."""
    minus = next((n.output[0] for n in graph.consumers(mean) if n.op_type == "Neg"), None)
    products = {
        value: reader.output[0]
        for reader in graph.consumers(factor)
        if reader.op_type == "Mul"
        for value in reader.input
        if value in (x, mean, minus)
    }
    if x not in products or len(products) != 2:
        return None
    shift, beta = products.get(minus or "", products.get(mean, "")), None
    reader = _only_reader(graph, shift)
    if reader is None:
        return None
    if products[x] not in reader.input:
        beta = next((graph.constant(v) for v in reader.input if v != shift), None)
        is_sum = reader.op_type == "Add" and minus in products
        is_difference = reader.op_type == "Sub" and reader.input[1] == shift
        if beta is None or not (is_sum or is_difference):
            return None
        shift, reader = reader.output[0], _only_reader(graph, reader.output[0])
        if reader is None or products[x] not in reader.input or reader.op_type != "Add":
            return None
        return reader, beta
    wanted = "Add" if minus in products else "Sub"
    return (reader, None) if reader.op_type == wanted and reader.input[0] == products[x] else None


def fuse_skip_norm(graph: Graph, node: NodeProto) -> bool:
    """A norm of a sum: one node that also hands the sum on."""
    if node.op_type not in _SKIP:
        return False
    total = _made_by(graph, node.input[0], "Add")
    # ONNX Runtime's fused operators take two summands of one shape, of two or three axes.
    if total is None or any(value in graph.constants for value in total.input):
        return False
    one, other = (graph.shape(value) for value in total.input)
    if one is None or other is None or not same_shape(one, other) or len(one) not in (2, 3):
        return False
    operator, beta = _SKIP[node.op_type], list(node.input[2:])
    fused = helper.make_node(
        operator,
        [*total.input, node.input[1], *beta],
        [node.output[0], "", "", total.output[0]],
        domain=CONTRIB,
        epsilon=attribute(node, "epsilon"),
    )
    if not graph.is_output(total.output[0]) and len(graph.consumers(total.output[0])) == 1:
        del fused.output[1:]
    graph.replace([total, node], [])
    graph.nodes.append(fused)
    graph.touch()
    graph.sort()
    return True


_SKIP = {
    "RMSNormalization": "SkipSimplifiedLayerNormalization",
    "LayerNormalization": "SkipLayerNormalization",
}

RULES = {
    "rms_norm": fuse_rms_norm,
    "layer_norm": fuse_layer_norm,
    "centred_norm": fuse_centred_norm,
    "skip_norm": fuse_skip_norm,
    "softplus": spread_softplus,
    "row_sum": sum_by_product,
}


def _made_by(graph: Graph, value: str, op_type: str) -> NodeProto | None:
    node = graph.producer(value)
    return node if node is not None and node.op_type == op_type else None


def _only_reader(graph: Graph, value: str) -> NodeProto | None:
    return graph.consumers(value)[0] if graph.is_single_use(value) else None


def _last_axis(graph: Graph, node: NodeProto) -> bool:
    """Whether a reduction is over the last axis and keeps it."""
    axes = graph.constant(node.input[1]) if len(node.input) > 1 else None
    rank = graph.rank(node.input[0])
    last = axes is not None and axes.size == 1 and int(axes.reshape(())) in (-1, (rank or 0) - 1)
    return last and attribute(node, "keepdims", 1) == 1


def _other(node: NodeProto, value: str) -> str:
    """The other one of a node's two inputs."""
    return node.input[1] if node.input[0] == value else node.input[0]


def _row(graph: Graph, value: np.ndarray | None, *, like: str, fill: float) -> str | None:
    """Stores a vector as long as the last axis of a value; None if that is unknown or differs."""
    shape = graph.shape(like)
    width = shape[-1] if shape else None
    if not isinstance(width, int) or not width:
        return None
    vector = np.array([fill]) if value is None else value.reshape(-1)
    vector = np.full(width, vector[0]) if vector.size == 1 else vector
    if vector.size != width:
        return None
    return graph.add_constant(vector.astype(np.float32), "norm_row")

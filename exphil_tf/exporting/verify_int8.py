"""Proof that ONNX Runtime multiplies in integers: its own optimised graph, and a profile of a run.

A file may hold int8 weights and still be multiplied in float: ONNX Runtime folds, fuses and falls
back when it loads a graph. So the graph that it really runs is written out and read, and a run is
profiled. Three things may not be there: a float product with a weight, a DequantizeLinear of a
stored weight, and MatMulNBits where this processor has no 8-bit kernel for it. What may stay float
is a product of two computed values (attention, the scan's read-out) and one with a constant whose
entries are all equal (a sum).
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from exphil_tf.exporting.onnx.graph import CONTRIB, Graph, attribute

INTEGER_PRODUCTS = (
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "QGemm",
    "MatMulInteger",
)
_FLOAT_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Conv", "FusedConv", "Einsum")
_RUNS = 3


class NotInteger(ValueError):
    """ONNX Runtime does not compute a product in integers."""


@dataclass(frozen=True)
class RuntimeGraph:
    """What ONNX Runtime runs."""

    nodes: int
    """Nodes of the optimised graph."""
    integer: dict[str, int]
    """Integer products by operator."""
    float_products: int
    """Products of computed values, which stay float."""


def verify_integer(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], *, products: int | None = None
) -> RuntimeGraph:
    """Checks the optimised graph and a profiled run.

    Args:
      model: the exported graph.
      feeds: one call's inputs.
      products: integer products that there must be; None takes any number but none.

    Raises: NotInteger: naming the node.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimised, ran = _run(model, feeds, Path(folder))
    graph = Graph(optimised)
    integer = Counter(node.op_type for node in graph.nodes if node.op_type in INTEGER_PRODUCTS)
    for node in graph.nodes:
        _check(graph, node)
    if products is not None and integer.total() != products:
        raise NotInteger(f"want {products} integer products. Received: {dict(integer)}")
    if not integer:
        raise NotInteger("no integer product in ONNX Runtime's optimised graph")
    if {op: ran[op] for op in integer} != dict(integer):
        raise NotInteger(f"want {dict(integer)} in a run. Received: {_products(ran)}")
    if integer["MatMulNBits"] and not runs_integer_blocks():
        raise NotInteger(
            "this processor has no 8-bit kernel for MatMulNBits (export with static activations)"
        )
    left = sum(node.op_type in _FLOAT_PRODUCTS for node in graph.nodes)
    return RuntimeGraph(len(graph.nodes), dict(sorted(integer.items())), left)


def example_feeds(model: onnx.ModelProto, *, rows: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Small random inputs of a graph's shapes; symbolic axes get `rows`."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for port in model.graph.input:
        kind = port.type.tensor_type
        shape = [d.dim_value or rows for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if kind.elem_type == TensorProto.FLOAT:
            feeds[port.name] = rng.random(shape, np.float32)
        else:
            feeds[port.name] = rng.integers(0, 2, shape).astype(dtype)
    return feeds


def runs_integer_blocks() -> bool:
    """Whether MatMulNBits rounds activations to 8 bits on this processor, seen by what it answers.

    In a block that holds 127, a step is 1 and 0.4 is rounded away; a float kernel would keep it.
    """
    inner, width = 32, 16
    weight = np.full((width, 1, inner), 128, np.uint8)
    weight[:, 0, 1] += 1
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain=CONTRIB,
        K=inner,
        N=width,
        bits=8,
        block_size=inner,
        accuracy_level=4,
    )
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", inner), ("y", width))
    ]
    constants = {"w": weight, "s": np.ones((width, 1), np.float32)}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "probe", ports[:1], ports[1:], initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.zeros((1, inner), np.float32)
    x[0, :2] = 127.0, 0.4
    answer = np.asarray(session.run(None, {"x": x})[0])
    return bool(np.abs(answer).max() < 0.2)


def _run(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], folder: Path
) -> tuple[onnx.ModelProto, Counter[str]]:
    """The graph as ONNX Runtime optimised it, and how often each operator ran in one call."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for _ in range(_RUNS):
        session.run(None, dict(feeds))
    events = json.loads(Path(session.end_profiling()).read_bytes())
    ran = Counter(
        event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    )
    optimised = onnx.load(folder / "optimised.onnx")
    return optimised, Counter({op: count // _RUNS for op, count in ran.items()})


def _check(graph: Graph, node: NodeProto) -> None:
    name = node.name or node.output[0]
    if node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
        raise NotInteger(f"{name}: a stored weight is turned back into float in every call")
    if node.op_type == "MatMulNBits":
        kind = attribute(node, "bits"), attribute(node, "accuracy_level")
        if kind != (8, 4):
            raise NotInteger(f"{name}: want 8 bits, accuracy level 4. Received: {kind}")
    if node.op_type not in _FLOAT_PRODUCTS:
        return
    operands = node.input if node.op_type == "Einsum" else node.input[:2]
    for value in operands:
        weight = graph.constant(value)
        if weight is not None and (weight != weight.flat[0]).any():
            shape = " x ".join(map(str, weight.shape))
            raise NotInteger(f"{name}: {node.op_type} with a float weight ({shape})")


def _products(ran: Mapping[str, int]) -> dict[str, int]:
    return {op: n for op, n in ran.items() if op in (*INTEGER_PRODUCTS, *_FLOAT_PRODUCTS)}

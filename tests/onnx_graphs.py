"""Small ONNX graphs by hand, and what ONNX Runtime makes of them."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

FLOAT = np.dtype(np.float32)


def node(op, inputs, outputs, **attributes):
    """A node; `op` may carry ONNX Runtime's domain as `ms.`."""
    domain = "com.microsoft" if op.startswith("ms.") else ""
    return helper.make_node(
        op.removeprefix("ms."), inputs.split(), outputs.split(), domain=domain, **attributes
    )


def make(nodes, *, inputs, outputs, constants=None, opset=18):
    """A checked model.

    Args:
      inputs: name → shape, or (dtype, shape).
      outputs: as `inputs`.
    """

    def ports(given):
        for name, what in given.items():
            dtype, shape = what if isinstance(what, tuple) else (FLOAT, what)
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            yield helper.make_tensor_value_info(name, kind, shape)

    initializers = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        nodes, "test", list(ports(inputs)), list(ports(outputs)), initializers
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    return model


def run(model, **feeds):
    """Outputs of a graph as it stands, without ONNX Runtime's own rewrites."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def optimised(model, folder):
    """The graph that ONNX Runtime makes of a graph when it loads it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def operators(model):
    """Nodes by operator."""
    return Counter(n.op_type for n in model.graph.node)


# -- Quantized products ----------------------------------------------------------------------------

SCALE, ZERO = np.float32(0.0375), np.uint8(117)


def on_grid(inner, width, seed=0):
    """A kernel as quantization-aware training leaves it: k * max|column| / 127."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(inner, width)).astype(np.float32)
    scale = np.abs(weight).max(axis=0) / np.float32(127)
    steps = np.rint(weight / scale).astype(np.int32)
    return (steps * scale).astype(np.float32), steps, scale


def product(inner, width, *, bias=None, rank=2, relu=False, zero=ZERO, seed=0):
    weight, *_ = on_grid(inner, width, seed)
    lead = ["batch"] if rank == 2 else ["batch", 1]
    nodes = [node("Relu", "x", "r")] if relu else []
    nodes += [
        node("QuantizeLinear", f"{'r' if relu else 'x'} scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("MatMul", "d w", "p" if bias is not None else "y"),
    ]
    constants = {"scale": SCALE, "zero": zero, "w": weight}
    if bias is not None:
        nodes.append(node("Add", "p b", "y"))
        constants["b"] = bias
    return make(
        nodes,
        inputs={"x": [*lead, inner]},
        outputs={"y": [*lead, width]},
        constants=constants,
    )

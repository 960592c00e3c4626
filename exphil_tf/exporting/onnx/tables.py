"""Tables that are looked up, in fewer bytes where nothing is lost.

Constant tables of the embedding hold zeros and ones, and learned ones may lie on an int8 grid
(`--quantize-embeddings`, the rows that condition the controller head). They are stored as 8-bit
integers with a Cast (and a Mul by the scales) behind them. ONNX Runtime works both out once, when
it loads the graph: a look-up costs what it cost before, only the file is smaller. DequantizeLinear
would say the same in one node, but ONNX Runtime leaves it in the graph and computes it per call.
"""

import numpy as np
from onnx import NodeProto, TensorProto, helper

from exphil_tf.exporting.onnx.graph import Graph
from exphil_tf.exporting.onnx.int8 import NotOnGrid, QuantizedWeight, quantized_weight

SMALLEST = 1024
"""Entries that a table must have to be worth it."""


def pack_tables(graph: Graph) -> int:
    """Stores tables that Gather reads in 8 bits, in place; returns how many."""
    tables = {node.input[0] for node in graph.nodes if node.op_type == "Gather"}
    count = 0
    for name in sorted(tables & graph.constants.keys()):
        table = graph.constants[name]
        if table.size >= SMALLEST and table.dtype in (np.float32, np.int32):
            count += _pack(graph, name, table)
    graph.sweep()
    return count


def _pack(graph: Graph, name: str, table: np.ndarray) -> bool:
    kind = helper.np_dtype_to_tensor_dtype(table.dtype)
    readers = graph.consumers(name)
    if ((table >= 0) & (table <= 255) & (table == np.rint(table))).all():
        stored = graph.add_constant(table.astype(np.uint8), f"{name}.bytes")
        nodes = [helper.make_node("Cast", [stored], [graph.fresh(f"{name}.numbers")], to=kind)]
    elif table.dtype == np.float32 and table.ndim == 2:
        try:
            weight = quantized_weight(table)
        except NotOnGrid:
            return False
        nodes = _scaled(graph, name, weight)
    else:
        return False
    graph.insert(readers[0], nodes)
    graph.redirect(name, nodes[-1].output[0])
    graph.sort()
    return True


def _scaled(graph: Graph, name: str, weight: QuantizedWeight) -> list[NodeProto]:
    stored = graph.add_constant(weight.values, f"{name}.bytes")
    steps = graph.add_constant(weight.scales, f"{name}.scale")
    numbers, table = graph.fresh(f"{name}.numbers"), graph.fresh(f"{name}.table")
    return [
        helper.make_node("Cast", [stored], [numbers], to=TensorProto.FLOAT),
        helper.make_node("Mul", [numbers, steps], [table]),
    ]

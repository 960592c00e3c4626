"""What a frame costs at the very least: one call of ONNX Runtime, and reading the weights once.

The floor of a form is call overhead + weight bytes / read bandwidth. Overhead is measured on a
graph of one node; bandwidth by numpy's widest reading loops over as many bytes as the form has
weights (so from the cache that would hold them) and over far more than any cache holds. A frame of
one row multiplies each weight once, so nothing faster is possible on one thread; operations that
are not products, and their latencies, are not in it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from exphil_tf.inference.session import open_session

DRAM_BYTES = 1 << 28
"""More than any cache holds."""
_LOOKED_UP = {"Gather", "GatherElements", "GatherND"}
"""Operations that read a few rows of a table and not the whole."""


@dataclass(frozen=True)
class Bandwidth:
    """Bytes per second that one thread reads."""

    num_bytes: int
    """Size of what was read over and over."""
    cache: float
    """At that size."""
    dram: float
    """At `DRAM_BYTES`."""


def weight_bytes(model: bytes) -> int:
    """Bytes of constants that every frame reads; tables of which it looks up rows do not count."""
    graph = onnx.load_from_string(model).graph
    tables = {node.input[0] for node in graph.node if node.op_type in _LOOKED_UP}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    return sum(
        numpy_helper.to_array(tensor).nbytes
        for name, tensor in constants.items()
        if name not in tables
    )


def read_bandwidth(num_bytes: int) -> Bandwidth:
    """Measures one thread's reading of `num_bytes` (at least a cache line) and of DRAM."""
    return Bandwidth(num_bytes, _rate(max(64, num_bytes)), _rate(DRAM_BYTES))


def _rate(num_bytes: int) -> float:
    """Bytes per second of the fastest of some passes, by the faster of two loops."""
    bytes_ = np.ones(num_bytes // 64 * 64, np.uint8)
    words = bytes_.view(np.uint64)
    loops: tuple[Callable[[], object], ...] = (
        lambda: np.maximum.reduce(bytes_),
        lambda: np.bitwise_or.reduce(words),
    )
    passes = max(4, (1 << 28) // num_bytes)
    return len(bytes_) / min(fastest_s(loop, passes=min(passes, 2000)) for loop in loops)


def fastest_s(
    work: Callable[[], object], *, passes: int, clock: Callable[[], int] = time.perf_counter_ns
) -> float:
    """Seconds of the fastest of some calls, by a clock of nanoseconds."""
    fastest = float("inf")
    for _ in range(passes):
        began = clock()
        work()
        fastest = min(fastest, clock() - began)
    return fastest / 1e9


def call_overhead_us(calls: int = 5000) -> float:
    """Median microseconds of a call, as a stepper makes it, of a graph that copies one number."""
    session = open_session(_empty_graph())
    binding = session.io_binding()
    buffers = np.zeros(1, np.float32), np.zeros(1, np.float32)
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(buffers[0]))
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(buffers[1]))
    clock, took = time.perf_counter_ns, np.empty(calls)
    for index in range(calls):
        began = clock()
        session.run_with_iobinding(binding)
        took[index] = clock() - began
    return float(np.median(took)) / 1e3


def _empty_graph() -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [x], [y])
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()

"""A policy as the ONNX graph that is shipped, at a precision, proven.

float32       traced, cleaned, fused
int8-qat      trained with --qat; 8-bit weights, inputs rounded as they were in training
int8-static   trained in float; 8-bit weights, inputs rounded by ranges seen on some games
int8-dynamic  trained in float; ONNX Runtime's own `quantize_dynamic`, to compare with
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from exphil_tf.exporting.onnx.clean import clean, with_shapes
from exphil_tf.exporting.onnx.fuse import fuse
from exphil_tf.exporting.onnx.graph import Graph
from exphil_tf.exporting.onnx.int8 import Activations, quantize_products
from exphil_tf.exporting.onnx.tables import pack_tables
from exphil_tf.exporting.precisions import Precision
from exphil_tf.exporting.tf_to_onnx import Signature, Traced, trace
from exphil_tf.exporting.verify_int8 import RuntimeGraph, example_feeds, verify_integer
from models.heads.controller import unit_block
from models.policy import Policy


@dataclass(frozen=True)
class Converted:
    """A graph ready to be published."""

    model: onnx.ModelProto = field(repr=False)
    signature: Signature
    runtime_graph: RuntimeGraph | None
    """What ONNX Runtime was seen to run; None of a float graph."""
    traced_nodes: int
    """Nodes as tf2onnx left them."""
    rewrites: dict[str, int]
    """How often each rewrite applied."""


def convert_policy(
    policy: Policy,
    precision: Precision,
    *,
    batch_size: int | None = None,
    frames: int = 0,
) -> Converted:
    """Traces a policy and brings it to a precision.

    Args:
      policy: quantized (`config.quantization.qat`) for int8-qat and int8-static, else not.
      precision: see the module.
      batch_size: rows, or None for any number.
      frames: of a window, or 0 for one step with state.

    Raises: NotOnGrid, NotInteger: if a product would not be computed in integers.
    """
    traced = trace(policy, batch_size=batch_size, frames=frames)
    return convert_traced(traced, policy=policy, precision=precision)


def convert_traced(traced: Traced, *, policy: Policy, precision: Precision) -> Converted:
    """As `convert_policy`, of a graph that was traced already (and is left as it was)."""
    graph = with_shapes(traced.model)
    num_traced = len(graph.nodes)
    rewrites = clean(graph) | fuse(graph)
    clean(graph)
    products = None
    if precision in ("int8-qat", "int8-static"):
        products = quantize_products(graph, rounding_of(policy), blocks=_blocks(policy))
        rewrites["tables"] = pack_tables(graph)
    graph.rename()
    converted = graph.to_model()
    if precision == "int8-dynamic":
        converted = quantize_dynamically(converted)
    runtime_graph = None
    if precision != "float32":
        runtime_graph = verify_integer(converted, example_feeds(converted), products=products)
    return Converted(converted, traced.signature, runtime_graph, num_traced, rewrites)


def rounding_of(policy: Policy) -> Activations:
    """How the kernels of a quantized policy round their inputs: as it was trained."""
    return "dynamic" if policy.config.quantization.rounding == "dynamic" else "static"


def activations_of(precision: Precision, policy: Policy) -> str:
    """How a graph of this precision rounds the inputs of its products, for its readers."""
    fixed = {"float32": "float", "int8-dynamic": "dynamic"}
    return fixed.get(precision) or rounding_of(policy)


def _blocks(policy: Policy) -> dict[tuple[int, int], int]:
    """Blocks of products (inputs, outputs) that are not `block_size`'s: those of the head."""
    head = policy.head
    inputs = len(head.sizes) * head.units
    return {(inputs, outputs): unit_block(head.units) for outputs in head.sizes.values()}


def quantize_dynamically(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime's own dynamic quantization of a float graph: s8 weights per channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _silence():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # It knows no shapes or types of ONNX Runtime's own operators.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        graph = Graph(onnx.load(target))
    graph.rename()
    # It copies the ports without their documentation.
    graph.inputs, graph.outputs = list(model.graph.input), list(model.graph.output)
    return graph.to_model()


@contextmanager
def _silence() -> Iterator[None]:
    """Holds back warnings that a user can do nothing about."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

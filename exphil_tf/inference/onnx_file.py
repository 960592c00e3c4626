"""What an ONNX file says of itself, read from its bytes without the `onnx` package.

A policy at play needs numpy and ONNX Runtime alone, and ONNX Runtime only answers once it has
loaded a graph. A bundle from elsewhere is looked at before that: nothing but what exports hold may
be in it (no loop or branch, no function, no weights in other files, no operator of another
library), numbers of everything are bounded, and what each tensor claims to be must be there in
bytes. What the graph would cost to run is `onnx_cost`'s question.

The field numbers are those of onnx.proto3, which never change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from exphil_tf.foundation.wire_format import WireError
from exphil_tf.inference.protobuf import Message, Reader, Slot

MAX_BYTES = 256 << 20
"""Of a file; a policy has some megabytes."""
MAX_FIELDS = 400_000
"""Fields of all messages together; a step has some thousand, a window of 60 frames 100,000."""
MAX_NODES = 20_000
MAX_RANK = 8
MAX_NAME = 512
OPSETS = {"": (13, 26), "ai.onnx": (13, 26), "com.microsoft": (1, 1)}
"""Versions of the operators by domain, least and greatest; exports have 18 and 23."""
IR_VERSIONS = (7, 13)

_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"), 2: np.dtype("u1"), 3: np.dtype("i1"), 6: np.dtype("<i4"),
    7: np.dtype("<i8"), 9: np.dtype("?"),
}  # fmt: skip
_ATTRIBUTE_KINDS = {1: "f", 2: "i", 6: "floats", 7: "ints"}
_NESTED = "graphs within a graph (loops or branches), which a policy has none of"
_OUTSIDE = "weights in another file, which is not loaded"
_FUNCTIONS = "functions or training graphs, which a policy has none of"
_SPARSE = "sparse weights, which a policy has none of"
_TYPED = "weights other than as raw bytes"


def _message(name: str, /, **slots: tuple[int, Any] | tuple[int, Any, bool]) -> Message:
    table: dict[int, Slot | str] = {}
    for field_name, (number, kind, *repeated) in slots.items():
        table[number] = Slot(field_name, kind, bool(repeated))
    return Message(name, table)


def _refusing(message: Message, refused: dict[int, str]) -> Message:
    return Message(message.name, {**message.slots, **refused})


_TENSOR = _refusing(
    _message(
        "tensor", dims=(1, "ints"), data_type=(2, "int"), name=(8, "text"), raw_data=(9, "bytes"),
        doc_string=(12, "text"),
    ),
    {4: _TYPED, 5: _TYPED, 6: "texts as weights", 7: _TYPED, 10: _TYPED, 11: _TYPED,
     13: _OUTSIDE, 14: _OUTSIDE},
)  # fmt: skip
_ATTRIBUTE = _refusing(
    _message(
        "attribute", name=(1, "text"), f=(2, "float"), i=(3, "int"), floats=(7, "floats"),
        ints=(8, "ints"), doc_string=(13, "text"), type=(20, "int"),
    ),
    {5: "weights in an attribute", 6: _NESTED, 10: "weights in an attribute", 11: _NESTED,
     22: _SPARSE, 23: _SPARSE},
)  # fmt: skip
_NODE = _message(
    "node", input=(1, "text", True), output=(2, "text", True), name=(3, "text"),
    op_type=(4, "text"), attribute=(5, _ATTRIBUTE, True), doc_string=(6, "text"),
    domain=(7, "text"),
)  # fmt: skip
_DIMENSION = _message("dimension", dim_value=(1, "int"), dim_param=(2, "text"))
_SHAPE = _message("shape", dim=(1, _DIMENSION, True))
_TENSOR_TYPE = _message("type", elem_type=(1, "int"), shape=(2, _SHAPE))
_TYPE = _message("type", tensor_type=(1, _TENSOR_TYPE))
_VALUE = _message("value", name=(1, "text"), type=(2, _TYPE), doc_string=(3, "text"))
_GRAPH = _refusing(
    _message(
        "graph", node=(1, _NODE, True), name=(2, "text"), initializer=(5, _TENSOR, True),
        doc_string=(10, "text"), input=(11, _VALUE, True), output=(12, _VALUE, True),
    ),
    {15: _SPARSE},
)  # fmt: skip
_OPSET = _message("opset", domain=(1, "text"), version=(2, "int"))
_ENTRY = _message("metadata", key=(1, "text"), value=(2, "text"))
_MODEL = _refusing(
    _message(
        "model", ir_version=(1, "int"), producer_name=(2, "text"), producer_version=(3, "text"),
        domain=(4, "text"), model_version=(5, "int"), doc_string=(6, "text"), graph=(7, _GRAPH),
        opset_import=(8, _OPSET, True), metadata_props=(14, _ENTRY, True),
    ),
    {20: _FUNCTIONS, 25: _FUNCTIONS},
)  # fmt: skip


class OnnxFileError(ValueError):
    """Bytes that are no ONNX file, or one that may not be loaded."""


@dataclass(frozen=True)
class GraphPort:
    """An input or output as the file declares it."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class GraphNode:
    """An operation."""

    operator: str
    """Those of other domains as `domain.operator`."""
    inputs: tuple[str, ...]
    """Names; empty where an input is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class OnnxFile:
    """What a file declares."""

    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]
    metadata: dict[str, str]
    nodes: tuple[GraphNode, ...] = field(repr=False)
    constants: dict[str, np.ndarray] = field(repr=False)
    """Views of the file's bytes, by name."""


def read_onnx(data: bytes) -> OnnxFile:
    """Reads a file.

    Raises: OnnxFileError: if it is not an ONNX file, or holds what no export holds.
    """
    if len(data) > MAX_BYTES:
        raise OnnxFileError(f"want at most {MAX_BYTES:,} bytes. Received: {len(data):,}")
    try:
        model = Reader(MAX_FIELDS).read(_MODEL, memoryview(data))
    except WireError as error:
        raise OnnxFileError(f"not an ONNX file that may be loaded: {error}") from error
    if "graph" not in model:
        raise OnnxFileError("not an ONNX file: it holds no graph")
    _check_versions(model)
    graph = model["graph"]
    if len(graph["node"]) > MAX_NODES:
        raise OnnxFileError(f"want at most {MAX_NODES:,} nodes. Received: {len(graph['node']):,}")
    return OnnxFile(
        inputs=tuple(map(_port, graph["input"])),
        outputs=tuple(map(_port, graph["output"])),
        metadata={e.get("key", ""): e.get("value", "") for e in model["metadata_props"]},
        nodes=tuple(map(_node, graph["node"])),
        constants=_constants(graph["initializer"]),
    )


def _check_versions(model: dict[str, Any]) -> None:
    low, high = IR_VERSIONS
    if not low <= model.get("ir_version", 0) <= high:
        raise OnnxFileError(f"want IR version {low} to {high}. Received: {model.get('ir_version')}")
    seen = set()
    for opset in model["opset_import"]:
        domain, version = opset.get("domain", ""), opset.get("version", 0)
        if domain not in OPSETS or domain in seen:
            raise OnnxFileError(f"operators of another library ({domain!r:.40})")
        seen.add(domain)
        low, high = OPSETS[domain]
        if not low <= version <= high:
            raise OnnxFileError(f"want opset {domain!r} {low} to {high}. Received: {version}")


def _node(node: dict[str, Any]) -> GraphNode:
    operator, domain = node.get("op_type", ""), node.get("domain", "")
    if domain not in OPSETS:
        raise OnnxFileError(f"an operator of another library ({domain!r:.40})")
    for name in (operator, *node["input"], *node["output"]):
        _check_name(name)
    if domain == "com.microsoft":
        operator = f"{domain}.{operator}"
    attributes = {a.get("name", ""): _attribute(a) for a in node["attribute"]}
    if len(attributes) != len(node["attribute"]):
        raise OnnxFileError(f"{operator!r:.60}: an attribute twice")
    return GraphNode(operator, tuple(node["input"]), tuple(node["output"]), attributes)


def _attribute(attribute: dict[str, Any]) -> Any:
    kind = _ATTRIBUTE_KINDS.get(attribute.get("type", 0))
    # Which of the values counts is the type's word; a second one has no business there.
    filled = [n for n in _ATTRIBUTE_KINDS.values() if attribute.get(n) not in (None, [])]
    if kind is None or not set(filled) <= {kind}:
        raise OnnxFileError(f"attribute {attribute.get('name', '')!r:.40} of a kind not known here")
    return attribute.get(kind, 0)


def _constants(tensors: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    constants = {}
    for tensor in tensors:
        name = tensor.get("name", "")
        _check_name(name)
        if name in constants or not name:
            raise OnnxFileError(f"a weight without a name of its own: {name!r:.40}")
        constants[name] = _constant(name, tensor)
    return constants


def _constant(name: str, tensor: dict[str, Any]) -> np.ndarray:
    """A tensor as its bytes hold it: exactly as many as its shape asks for."""
    dtype, dims = _DTYPES.get(tensor.get("data_type", 0)), tensor["dims"]
    if dtype is None:
        raise OnnxFileError(f"{name!r:.60}: a weight of type {tensor.get('data_type', 0)}")
    if len(dims) > MAX_RANK or any(not 0 <= size < 1 << 31 for size in dims):
        raise OnnxFileError(f"{name!r:.60}: a weight of shape {dims!r:.80}")
    raw = tensor.get("raw_data", b"")
    if math.prod(dims) * dtype.itemsize != len(raw):
        raise OnnxFileError(
            f"{name!r:.60}: want {dtype} {dims!r:.80} in bytes. Received: {len(raw):,} bytes"
        )
    array = (np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)).reshape(dims)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise OnnxFileError(f"{name!r:.60}: want finite weights. Received: NaN or infinity")
    return array


def _port(value: dict[str, Any]) -> GraphPort:
    name = value.get("name", "")
    _check_name(name)
    tensor = value.get("type", {}).get("tensor_type", {})
    dtype = _DTYPES.get(tensor.get("elem_type", 0))
    if dtype is None or "shape" not in tensor:
        raise OnnxFileError(f"{name!r:.60}: want a tensor of a known type and shape")
    return GraphPort(name, dtype.name, tuple(map(_size, tensor["shape"]["dim"])))


def _size(dimension: dict[str, Any]) -> str | int:
    """A dimension: its size, or its name."""
    if len(dimension) != 1:
        raise OnnxFileError("a dimension with neither or both of size and name")
    return next(iter(dimension.values()))


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME:
        raise OnnxFileError(f"a name of {len(name):,} letters: {name!r:.40}")

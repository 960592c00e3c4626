"""What an ONNX file says of itself, read from its bytes without the `onnx` package.

A policy at play needs numpy and ONNX Runtime alone, and ONNX Runtime only answers once it has
loaded a graph. A bundle from elsewhere is looked at before that: whether it keeps weights in other
files, uses operators of other libraries, and takes and gives what its configuration says. An ONNX
file is a protocol buffer: fields of (number, wire type) and a payload, nested. The numbers are
those of onnx.proto3, which never change.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_MAX_DEPTH = 8
"""Graphs within graphs (If, Loop) that are followed; a policy has none."""
_STANDARD = ("", "ai.onnx", "com.microsoft")
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}

# Field numbers by message.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_MODEL_TRAINING, _MODEL_FUNCTIONS = 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_GRAPH_INPUT, _GRAPH_OUTPUT = 11, 12
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


class OnnxFileError(ValueError):
    """Bytes that are no ONNX file, or one that may not be loaded."""


@dataclass(frozen=True)
class GraphPort:
    """An input or output as the file declares it."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class OnnxFile:
    """What a file declares."""

    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]
    metadata: dict[str, str]
    operators: dict[str, int]
    """Nodes by operator, those of other domains as `domain.operator`."""


def read_onnx(data: bytes) -> OnnxFile:
    """Reads the declarations of a file.

    Raises: OnnxFileError: if it is not an ONNX file, keeps weights in other files, or uses an
      operator that is neither ONNX's nor ONNX Runtime's own.
    """
    try:
        return _read(data)
    except (IndexError, UnicodeDecodeError) as error:
        raise OnnxFileError("not an ONNX file, or cut short") from error


def _read(data: bytes) -> OnnxFile:
    model = list(_fields(memoryview(data)))
    graphs = [value for number, value in model if number == _MODEL_GRAPH]
    if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
        raise OnnxFileError("not an ONNX file: it holds no graph")
    if any(number in (_MODEL_FUNCTIONS, _MODEL_TRAINING) for number, _ in model):
        raise OnnxFileError("functions or training graphs, which a policy has none of")
    for _, opset in _messages(model, _MODEL_OPSET):
        domain = _text(opset, 1)
        if domain not in _STANDARD:
            raise OnnxFileError(f"operators of another library ({domain!r:.40})")
    operators: dict[str, int] = {}
    _check_graph(graphs[0], operators, depth=0)
    graph = list(_fields(graphs[0]))
    return OnnxFile(
        inputs=tuple(_port(value) for _, value in _messages(graph, _GRAPH_INPUT)),
        outputs=tuple(_port(value) for _, value in _messages(graph, _GRAPH_OUTPUT)),
        metadata={_text(e, 1): _text(e, 2) for _, e in _messages(model, _MODEL_METADATA)},
        operators=dict(sorted(operators.items())),
    )


def _check_graph(graph: memoryview, operators: dict[str, int], *, depth: int) -> None:
    """Counts operators and refuses what reaches beyond the file."""
    if depth > _MAX_DEPTH:
        raise OnnxFileError("graphs nested too deeply")
    for number, value in _messages(list(_fields(graph))):
        if number == _GRAPH_INITIALIZER:
            _check_tensor(value)
        elif number == _GRAPH_SPARSE:
            _check_sparse(value)
        elif number == _GRAPH_NODE:
            _check_node(value, operators, depth=depth)


def _check_node(node: memoryview, operators: dict[str, int], *, depth: int) -> None:
    domain, operator = _text(node, _NODE_DOMAIN), _text(node, _NODE_OPERATOR)
    if domain not in _STANDARD:
        raise OnnxFileError(f"an operator of another library ({domain!r:.40})")
    name = operator if domain != "com.microsoft" else f"{domain}.{operator}"
    operators[name] = operators.get(name, 0) + 1
    for _, attribute in _messages(list(_fields(node)), _NODE_ATTRIBUTE):
        for number, value in _messages(list(_fields(attribute))):
            if number in _ATTRIBUTE_TENSORS:
                _check_tensor(value)
            elif number in _ATTRIBUTE_SPARSE:
                _check_sparse(value)
            elif number in _ATTRIBUTE_GRAPHS:
                _check_graph(value, operators, depth=depth + 1)


def _check_sparse(sparse: memoryview) -> None:
    for _, tensor in _messages(list(_fields(sparse)), 1, 2):
        _check_tensor(tensor)


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise OnnxFileError("weights in another file, which is not loaded")


def _port(info: memoryview) -> GraphPort:
    """A ValueInfoProto: name = 1, type = 2, of which tensor_type = 1 has elem_type 1, shape 2."""
    element, shape = 0, []
    for _, kind in _messages(list(_fields(info)), 2):
        for _, tensor in _messages(list(_fields(kind)), 1):
            for number, value in _fields(tensor):
                if number == 1 and isinstance(value, int):
                    element = value
                elif number == 2 and isinstance(value, memoryview):
                    shape = [_size(d) for _, d in _messages(list(_fields(value)), 1)]
    return GraphPort(_text(info, 1), _TYPES.get(element, f"type {element}"), tuple(shape))


def _size(dimension: memoryview) -> str | int:
    """A dimension: its size (1), or its name (2)."""
    for number, value in _fields(dimension):
        if number == 1 and isinstance(value, int):
            return value
    return _text(dimension, 2)


# -- Wire format -----------------------------------------------------------------------------------

_Field = tuple[int, "int | memoryview"]


def _fields(data: memoryview) -> Iterator[_Field]:
    """(field number, integer or bytes) of a message; IndexError if it is cut short."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise OnnxFileError(f"not an ONNX file: wire type {wire}")
        if place + size > len(data):
            raise IndexError("cut short")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise OnnxFileError("not an ONNX file: a number of more than 64 bits")


def _messages(fields: list[_Field], *numbers: int) -> Iterator[tuple[int, memoryview]]:
    """Fields that hold bytes, of these numbers or (without any) of all."""
    for number, value in fields:
        if isinstance(value, memoryview) and (not numbers or number in numbers):
            yield number, value


def _text(message: memoryview, number: int) -> str:
    found = [value for n, value in _fields(message) if n == number]
    last = found[-1] if found else memoryview(b"")
    return bytes(last).decode() if isinstance(last, memoryview) else ""

"""What somebody who means harm, or a bad disk, makes of a sound folder; checksums made anew."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from exphil_tf.foundation import atomic

Random = np.random.Generator
VALUES: tuple[Any, ...] = (
    -1, 0, 1, 3, 255, 65_537, 10**9, -(10**9), 2**63, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf,
    True, False, None, "", "x", "9", "\ud800", "\u2028\u0085\x1b[31m", "../../x", "A" * 10_000, [],
    {}, [[]], [1, 2], {"a": 1}, "int64", "batch", [10**9, 10**9],
)  # fmt: skip
"""For any place of a JSON file."""
NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 1000, 2**16, 2**30, 2**31 - 1, 2**40, 2**62)
"""For any integer of a graph."""
OPERATORS = (
    "Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot",
    "RandomNormal", "Reshape", "Concat", "MatMul", "Add", "Gather", "NonZero", "Upsample", "Unique",
    "Conv", "Einsum", "SequenceEmpty", "StringNormalizer", "Split", "Slice", "Squeeze", "Transpose",
    "ReduceSum", "Compress", "ScatterND", "GatherND", "TopK", "Where", "Cast", "Shape", "CumSum",
)  # fmt: skip


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Publishes files with checksums that fit."""
    with atomic.publish(folder) as temporary:
        for name, data in files.items():
            atomic.write_bytes(temporary / name, data)
    return folder


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder without its checksums."""
    names = (path.name for path in folder.iterdir() if path.name != atomic.CHECKSUMS)
    return {name: (folder / name).read_bytes() for name in sorted(names)}


# -- Bytes and JSON --------------------------------------------------------------------------------


def spoil_bytes(rng: Random, data: bytes) -> bytes:
    """Flips, cuts, repeats, inserts or moves bytes."""
    spoilt = bytearray(data)
    start = int(rng.integers(0, len(data)))
    piece = data[start : start + int(rng.integers(1, 200))]
    match int(rng.integers(0, 5)):
        case 0:
            for place in rng.integers(0, len(data), rng.integers(1, 9)):
                spoilt[place] ^= 1 << int(rng.integers(0, 8))
        case 1:
            for place in rng.integers(0, len(data), rng.integers(1, 9)):
                spoilt[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        case 2:
            del spoilt[start:]
        case 3:
            del spoilt[start : start + len(piece)]
        case _:
            place = int(rng.integers(0, len(data)))
            spoilt[place:place] = piece
    return bytes(spoilt)


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every value inside."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def spoil_json(rng: Random, data: bytes) -> bytes:
    """Changes, drops or adds some values; those at the top as often as all others together."""
    values = json.loads(data)
    for _ in range(int(rng.integers(1, 3))):
        found = list(places(values))
        top = [path for path in found if len(path) < 3]
        chosen = top if rng.random() < 0.5 else found
        path = list(chosen[rng.integers(0, len(chosen))])
        parents, key = path[:-1], path[-1]
        holder = values
        for parent in parents:
            holder = holder[parent]
        choice = rng.random()
        if choice < 0.15:
            del holder[key]
        elif choice < 0.25 and isinstance(holder, dict):
            holder["surplus"] = 1
        else:
            holder[key] = copy.deepcopy(VALUES[rng.integers(0, len(VALUES))])
        if not values:
            break
    return json.dumps(values).encode()


# -- Graphs ----------------------------------------------------------------------------------------


def _any(rng: Random, things: Any) -> Any:
    return things[int(rng.integers(0, len(things)))]


def _operator(rng: Random, graph: onnx.GraphProto) -> None:
    _any(rng, graph.node).op_type = str(rng.choice(OPERATORS))


def _wire(rng: Random, graph: onnx.GraphProto) -> None:
    names = [n for node in graph.node for n in node.output] + [t.name for t in graph.initializer]
    node = _any(rng, [node for node in graph.node if node.input])
    node.input[int(rng.integers(0, len(node.input)))] = _any(rng, names)


def _attribute(rng: Random, graph: onnx.GraphProto) -> None:
    node = _any(rng, [node for node in graph.node if node.attribute])
    attribute = _any(rng, node.attribute)
    if attribute.ints:
        attribute.ints[int(rng.integers(0, len(attribute.ints)))] = int(rng.choice(NUMBERS))
    else:
        attribute.i = int(rng.choice(NUMBERS))


def _integers(rng: Random, graph: onnx.GraphProto) -> None:
    """Shapes, places, sizes of parts, repeats: all are constants of whole numbers."""
    tensor = _any(
        rng, [t for t in graph.initializer if t.data_type == TensorProto.INT64 and t.dims]
    )
    values = numpy_helper.to_array(tensor).copy().reshape(-1)
    if values.size:
        values[int(rng.integers(0, values.size))] = int(rng.choice(NUMBERS))
    shape = numpy_helper.to_array(tensor).shape
    tensor.CopyFrom(numpy_helper.from_array(values.reshape(shape), tensor.name))


def _dimensions(rng: Random, graph: onnx.GraphProto) -> None:
    tensor = _any(rng, [tensor for tensor in graph.initializer if tensor.dims])
    if rng.random() < 0.5:
        tensor.dims[int(rng.integers(0, len(tensor.dims)))] = int(rng.choice(NUMBERS))
    else:
        tensor.dims[:] = [*tensor.dims, 1] if rng.random() < 0.5 else [1, *tensor.dims[::-1]]


def _type(rng: Random, graph: onnx.GraphProto) -> None:
    _any(rng, graph.initializer).data_type = int(rng.integers(0, 24))


def _port(rng: Random, graph: onnx.GraphProto) -> None:
    port = _any(rng, [*graph.input, *graph.output]).type.tensor_type
    if rng.random() < 0.3:
        port.elem_type = int(rng.integers(0, 24))
    else:
        _any(rng, port.shape.dim).dim_value = int(rng.choice(NUMBERS))


def _twice(rng: Random, graph: onnx.GraphProto) -> None:
    node = graph.node.add()
    node.CopyFrom(_any(rng, list(graph.node)[:-1]))
    if rng.random() < 0.5:
        node.output[:] = [f"{name}.twice" for name in node.output]


def _doubling(rng: Random, graph: onnx.GraphProto) -> None:
    """A result joined to itself, over and over."""
    name = _any(rng, [n for node in graph.node for n in node.output])
    for step in range(int(rng.integers(2, 40))):
        made = f"double{step}"
        graph.node.append(helper.make_node("Concat", [name, name], [made], axis=0))
        name = made


def _spread(rng: Random, graph: onnx.GraphProto) -> None:
    """Something small made large: by its shape, by repeats, by a table."""
    sizes = numpy_helper.from_array(rng.choice([4, 10**5, 10**9], 2).astype(np.int64), "sizes")
    one = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    graph.initializer.extend([sizes, one])
    operator = str(rng.choice(["Expand", "Tile", "Reshape"]))
    graph.node.append(helper.make_node(operator, ["one", "sizes"], ["spread"]))
    graph.node.append(helper.make_node("ConstantOfShape", ["sizes"], ["filled"]))
    if rng.random() < 0.5:
        del graph.node[-1]


def _outer(rng: Random, graph: onnx.GraphProto) -> None:
    """A row and a column of a size, added or multiplied to a table."""
    size = int(rng.choice([10, 4000, 200_000]))
    for name, shape in (("row", (1, size)), ("column", (size, 1))):
        graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    operator = str(rng.choice(["Add", "MatMul", "Mul", "Where", "Max"]))
    graph.node.append(helper.make_node(operator, ["column", "row"], ["table"]))


def _endless(rng: Random, graph: onnx.GraphProto) -> None:
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )  # fmt: skip
    graph.initializer.append(true)
    graph.node.insert(0, helper.make_node("Loop", ["", "true"], [], body=body))


GRAPH_CHANGES: tuple[Callable[[Random, onnx.GraphProto], None], ...] = (
    _operator, _wire, _attribute, _integers, _integers, _dimensions, _type, _port, _twice,
    _doubling, _spread, _outer, _endless,
)  # fmt: skip


def spoil_graph(rng: Random, data: bytes) -> bytes:
    """One or two changes that leave the file well-formed."""
    model = onnx.load_from_string(data)
    for _ in range(int(rng.integers(1, 3))):
        _any(rng, GRAPH_CHANGES)(rng, model.graph)
    return model.SerializeToString()


# -- Weights ---------------------------------------------------------------------------------------


def spoil_weights(rng: Random, data: bytes) -> bytes:
    """NaN, another type or shape, a tensor more or less, a spoilt header."""
    tensors = {name: np.array(value) for name, value in safetensors.numpy.load(data).items()}
    name = sorted(tensors)[rng.integers(0, len(tensors))]
    match int(rng.integers(0, 7)):
        case 0 | 1:
            tensors[name].reshape(-1)[0] = rng.choice([np.nan, np.inf, -np.inf])
        case 2:
            tensors[name] = tensors[name].astype(rng.choice(["f8", "f2", "i4", "u1", "?"]))
        case 3:
            tensors[name] = tensors[name][..., None] if rng.random() < 0.5 else tensors[name][:1]
        case 4:
            del tensors[name]
        case 5:
            tensors[str(rng.choice(["more", "\u2028", "a" * 5000, ""]))] = np.zeros(3, np.float32)
        case _:
            size = int.from_bytes(data[:8], "little")
            return data[:8] + spoil_bytes(rng, data[8 : 8 + size]) + data[8 + size :]
    return safetensors.numpy.save(tensors)

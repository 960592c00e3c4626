"""The reader of graphs sees what ONNX Runtime would see, or refuses; costs are known beforehand."""

import functools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import make, node

from exphil_tf.foundation.wire_format import WireError
from exphil_tf.inference.onnx_cost import MAX_WORK, check_cost, cost
from exphil_tf.inference.onnx_file import MAX_FIELDS, OnnxFileError, read_onnx
from exphil_tf.inference.onnx_rules import MAX_ELEMENTS, RULES
from exphil_tf.inference.protobuf import Message, Reader, Slot

TEXT = Message("test", {1: Slot("word", "text"), 2: Slot("sizes", "ints"), 3: Slot("x", "float")})


def varint(value):
    value %= 1 << 64
    found = []
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number, wire, payload):
    return varint(number << 3 | wire) + payload


def sized(number, payload):
    return field(number, 2, varint(len(payload)) + payload)


def read(data, budget=1000):
    return Reader(budget).read(TEXT, memoryview(data))


# -- The wire --------------------------------------------------------------------------------------


def test_packed_or_not_and_negative_numbers():
    apart = field(2, 0, varint(-5)) + field(2, 0, varint(2**40))
    packed = sized(2, varint(-5) + varint(2**40))
    assert read(apart)["sizes"] == read(packed)["sizes"] == [-5, 2**40]
    assert read(field(3, 5, np.float32(1.5).tobytes())) == {"sizes": [], "x": 1.5}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (sized(1, b"a") + sized(1, b"b"), "test.word: want it once"),
        (field(1, 0, b"\x01"), "test.word: wire type 0"),
        (field(1, 5, b"abcd"), "test.word: wire type 5"),
        (sized(9, b""), "field 9 is not known"),
        (sized(1, b"\xff"), "not UTF-8"),
        (field(1, 3, b""), "wire type 3"),
        (varint(1 << 3 | 2) + varint(2**62) + b"x", "cut short"),
        (b"\x08" + b"\x80" * 11, "more than 64 bits"),
        (sized(2, varint(1) * 2000), "more fields than are read"),
        (sized(2, varint(1)) * 2000, "more fields than are read"),
    ],
)
def test_what_another_reader_could_take_differently_is_refused(data, words):
    with pytest.raises(WireError, match=words):
        read(data)


def test_fields_are_bounded_however_small_they_are():
    """Two bytes each, and each would be a dictionary with three lists."""
    graph = sized(1, b"") * (MAX_FIELDS + 10)
    with pytest.raises(OnnxFileError, match="more fields than are read"):
        read_onnx(sized(7, graph))


def test_a_graph_that_comes_in_two_parts_is_refused():
    """Other readers join them."""
    model = small([node("Add", "x x", "y")])
    data = model.SerializeToString()
    with pytest.raises(OnnxFileError, match="model.graph: want it once"):
        read_onnx(data + sized(7, b""))


@pytest.mark.parametrize(("ir", "opset"), [(3, 18), (99, 18), (10, 9), (10, 99)])
def test_versions_of_other_times(ir, opset):
    model = small([node("Add", "x x", "y")])
    model.ir_version, model.opset_import[0].version = ir, opset
    with pytest.raises(OnnxFileError, match="IR version|opset"):
        read_onnx(model.SerializeToString())


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (TensorProto(name="c", dims=[1], data_type=1, float_data=[1.0]), "other than as raw"),
        (TensorProto(name="c", dims=[1], data_type=8, string_data=[b"x"]), "texts as weights"),
        (TensorProto(name="c", dims=[2], data_type=1, raw_data=bytes(4)), "want float32"),
        (TensorProto(name="c", dims=[-1], data_type=1, raw_data=b""), "of shape"),
        (TensorProto(name="c", dims=[0, 2**40], data_type=1, raw_data=b""), "of shape"),
        (TensorProto(name="c", dims=[1] * 9, data_type=1, raw_data=bytes(4)), "of shape"),
        (TensorProto(name="c", dims=[1], data_type=10, raw_data=bytes(2)), "of type 10"),
        (TensorProto(name="", dims=[1], data_type=1, raw_data=bytes(4)), "name of its own"),
        (numpy_helper.from_array(np.float32([1, np.nan]), "c"), "'c': want finite weights"),
        (numpy_helper.from_array(np.float32([np.inf]), "c"), "'c': want finite weights"),
    ],
)
def test_weights_are_what_they_claim(tensor, words):
    model = small([node("Add", "x x", "y")])
    model.graph.initializer.append(tensor)
    with pytest.raises(OnnxFileError, match=words):
        read_onnx(model.SerializeToString())


# -- The cost --------------------------------------------------------------------------------------


def small(nodes, constants=None, width=4):
    shape = ["batch", width]
    return make(nodes, inputs={"x": shape}, outputs={"y": shape}, constants=constants)


def refused(nodes, constants=None, batch=None):
    """The sentence for a graph that `y = x + x` would finish."""
    model = small([node("Add", "x x", "y")], constants)
    model.graph.node.extend(nodes)
    with pytest.raises(OnnxFileError) as caught:
        check_cost(read_onnx(model.SerializeToString()), batch)
    assert len(str(caught.value)) < 300
    return str(caught.value)


def sizes(*values):
    return np.array(values, np.int64)


def test_what_is_computed_counts_once_for_each_row():
    model = small(
        [node("MatMul", "x w", "m"), node("Add", "m x", "y")], {"w": np.eye(4, dtype="f4")}
    )
    for rows in (1, 3):
        found = cost(read_onnx(model.SerializeToString()), rows, limit=1000)
        assert found.elements == rows * (4 + 4 + 4)
        assert found.shapes["y"] == (rows, 4)
    # Products, reads of both factors, results, reads of both summands.
    assert found.work == 3 * 4 * 4 + (3 * 4 + 16) + 3 * 4 + 2 * 3 * 4


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan"])
def test_graphs_within_graphs(operator):
    body = helper.make_graph([], "body", [], [])
    model = small([node("Add", "x x", "y")])
    model.graph.node.append(helper.make_node(operator, ["x"], ["z"], body=body))
    with pytest.raises(OnnxFileError, match="graphs within a graph"):
        read_onnx(model.SerializeToString())


@pytest.mark.parametrize(
    "operator",
    ["ConstantOfShape", "Range", "Resize", "RandomNormal", "NonZero", "Unique", "Einsum", "Conv",
     "SequenceEmpty", "StringNormalizer", "ScatterND", "TopK", "ms.QAttention", "Constant"],
)  # fmt: skip
def test_operators_that_no_export_holds(operator):
    assert operator.removeprefix("ms.") not in RULES
    assert "that no policy uses" in refused([node(operator, "x", "z")])


def test_made_large_by_a_constant():
    for operator in ("Tile", "Expand"):
        large = sizes(2**40, 4)
        assert "larger than a policy's" in refused([node(operator, "x big", "z")], {"big": large})
    pads = {"pads": sizes(0, 0, 2**40, 0)}
    assert "larger than a policy's" in refused([node("Pad", "x pads", "z")], pads)
    depth = {"depth": sizes(2**40), "on": np.float32([0, 1]), "id": sizes(1, 2)}
    assert "larger than a policy's" in refused([node("OneHot", "id depth on", "z")], depth)


def test_made_large_by_numbers_that_are_not_known():
    assert "want constant integers" in refused(
        [node("Cast", "x", "i", to=7), node("Reshape", "x i", "z")]
    )


def test_made_large_by_a_column_and_a_row():
    sides = {"row": np.ones((1, 20_000), "f4"), "column": np.ones((20_000, 1), "f4")}
    for operator in ("Add", "Mul", "MatMul", "Max"):
        assert "larger than" in refused([node(operator, "column row", "z")], sides)


def test_made_large_step_by_step():
    doubled = [node("Concat", f"d{i} d{i}", f"d{i + 1}", axis=0) for i in range(60)]
    doubled.insert(0, node("Abs", "x", "d0"))
    assert "in all results" in refused(doubled)
    many = [node("Tile", "x four", f"t{i}") for i in range(100)]
    assert "in all results" in refused(many, {"four": sizes(1, MAX_ELEMENTS // 8)})


def test_long_because_it_reads_much_over_and_over():
    """Each result is one number; the weights are read ten thousand times."""
    much = np.ones((1 << 22, 1), "f4")
    reads = [node("ReduceSum", "much all", f"s{i}", keepdims=0) for i in range(10_000)]
    assert f"{MAX_WORK:,} products" in refused(reads, {"much": much, "all": sizes(0, 1)})


def test_long_because_of_products():
    wide = np.ones((3000, 3000), np.float32)
    products = [node("MatMul", "w w" if i == 0 else f"p{i - 1} w", f"p{i}") for i in range(3)]
    assert "products. Received" in refused(products, {"w": wide})


def test_rows_that_meet_each_other():
    """Rows times rows: nothing for one, everything for a thousand."""
    transposed = [node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "x t", "z")]
    powers = [*transposed, node("MatMul", "z z", "p0")]
    powers += [node("Unsqueeze", "z last", "u"), node("Add", "u z", "cube")]
    assert "each row" in refused(powers, {"last": sizes(2)})


def test_a_batch_that_is_fixed_counts_as_a_whole():
    model = make(
        [node("Tile", "x wide", "t"), node("Add", "x x", "y")],
        inputs={"x": [4096, 4]}, outputs={"y": [4096, 4]}, constants={"wide": sizes(1, 4096)},
    )  # fmt: skip
    with pytest.raises(OnnxFileError, match="larger than a policy's"):
        check_cost(read_onnx(model.SerializeToString()), 4096)


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        ([node("Abs", "later", "z"), node("Abs", "x", "later")], None, "before it is made"),
        ([node("Abs", "x", "y")], None, "made twice"),
        ([node("Abs", "x", "z z2")], None, "want 1 outputs"),
        ([node("Slice", "x a b c", "z")], {"a": sizes(0), "b": sizes(1), "c": sizes(9)}, "axis"),
        ([node("Split", "x parts", "a b", axis=1)], {"parts": sizes(3, 9)}, "parts of 4"),
        ([node("Reshape", "x to", "z")], {"to": sizes(-1, 7)}, "numbers"),
        ([node("Transpose", "x", "z", perm=[0, 0])], None, "Transpose"),
        ([node("Gather", "x i", "z", axis=5)], {"i": sizes(0)}, "axis"),
        ([node("MatMul", "x x", "z")], None, "matrices that fit"),
        ([node("LayerNormalization", "x s", "z")], {"s": np.ones(3, "f4")}, "a column"),
        ([node("ms.MatMulNBits", "x w s", "z", K=4, N=2**40, bits=8, block_size=16)],
         {"w": np.zeros((2, 1, 16), "u1"), "s": np.ones(2, "f4")}, "MatMulNBits"),
        ([node("ms.MatMulIntegerToFloat", "x w s", "z")],
         {"w": np.zeros((4, 8), "i1"), "s": np.ones(3, "f4")}, "want 1 or 8 numbers"),
    ],
)  # fmt: skip
def test_graphs_that_contradict_themselves(nodes, constants, words):
    assert words in refused(nodes, constants)


def test_numbers_that_a_byte_would_cut_off_are_not_followed():
    """256 as a byte is 0: what starts there would be thought empty, and be everything."""
    nodes = [node("Cast", "n", "byte", to=2), node("Cast", "byte", "start", to=7)]
    nodes.append(node("Slice", "x start end axis", "z"))
    given = {"n": sizes(256), "end": sizes(2**31), "axis": sizes(1)}
    assert "want constant integers" in refused(nodes, given)


@functools.cache
def chain(length):
    nodes = [node("Abs", f"a{i}" if i else "x", f"a{i + 1}") for i in range(length)]
    return small([*nodes, node("Add", f"a{length} x", "y")]).SerializeToString()


def test_many_nodes():
    assert len(read_onnx(chain(1000)).nodes) == 1001
    with pytest.raises(OnnxFileError, match="nodes. Received: 20,002"):
        read_onnx(chain(20_001))
    onnx.load_from_string(chain(20_001))

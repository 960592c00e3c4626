"""Each clean-up takes out what it should, changes no number, and keeps its hands off the rest."""

import numpy as np
import pytest
from onnx_graphs import make, node, operators, run

from exphil_tf.exporting.onnx.clean import clean, with_shapes
from exphil_tf.exporting.onnx.graph import Graph

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
W = np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32)
INT64 = np.int64


def cleaned(model):
    graph = with_shapes(model)
    clean(graph)
    return graph.to_model()


def same(model, wanted, **feeds):
    """The cleaned model has these operators and gives the same numbers."""
    after = cleaned(model)
    assert operators(after) == wanted
    for one, other in zip(run(model, **feeds), run(after, **feeds), strict=True):
        np.testing.assert_array_equal(one, other)
    return after


def test_a_gemm_becomes_a_product_and_a_sum():
    model = make(
        [node("Gemm", "x w y", "s"), node("Gemm", "x w", "r")],
        inputs={"x": ["batch", 4], "y": ["batch", 2]},
        outputs={"s": ["batch", 2], "r": ["batch", 2]},
        constants={"w": W},
    )
    after = cleaned(model)
    assert operators(after) == {"MatMul": 2, "Add": 1}
    for one, other in zip(run(model, x=X, y=Y), run(after, x=X, y=Y), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_a_gemm_that_scales_is_left_alone():
    model = make(
        [node("Gemm", "x w y", "s", alpha=0.5)],
        inputs={"x": ["batch", 4], "y": ["batch", 2]},
        outputs={"s": ["batch", 2]},
        constants={"w": W},
    )
    same(model, {"Gemm": 1}, x=X, y=Y)


def slice_model(starts, ends, axes, steps):
    return make(
        [node("Relu", "x", "r"), node("Slice", "r starts ends axes steps", "s"),
         node("Neg", "s", "y")],
        inputs={"x": ["batch", 4]},
        outputs={"y": ["rows", "columns"]},
        constants={n: np.array(v, INT64) for n, v in
                   (("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps))},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "goes"),
    [
        (([0, 0], [10**9, 10**9], [0, 1], [1, 1]), True),
        (([0], [4], [1], [1]), True),
        (([0], [3], [1], [1]), False),
        (([1], [10**9], [1], [1]), False),
        (([0], [10**9], [1], [2]), False),
    ],
)
def test_only_a_slice_that_takes_all_goes(arguments, goes):
    kept = {"Relu": 1, "Neg": 1} | ({} if goes else {"Slice": 1})
    same(slice_model(*arguments), kept, x=X)


def test_an_output_keeps_its_name_when_its_node_goes():
    model = make(
        [node("Relu", "x", "a"), node("Slice", "a starts ends", "y")],
        inputs={"x": ["batch", 4]},
        outputs={"y": ["batch", 4]},
        constants={"starts": np.array([0, 0], INT64), "ends": np.array([10**9] * 2, INT64)},
    )
    after = same(model, {"Relu": 1}, x=X)
    assert after.graph.node[0].output[0] == "y"


def test_tensordot_becomes_a_product_of_three_axes():
    model = make(
        [
            node("Relu", "x", "r"),
            node("Shape", "r", "shape"),
            node("Gather", "shape lead", "leading"),
            node("Concat", "leading width", "target", axis=0),
            node("Reshape", "r flat", "rows"),
            node("MatMul", "rows w", "p"),
            node("Reshape", "p target", "y"),
        ],
        inputs={"x": ["batch", 1, 4]},
        outputs={"y": ["batch", 1, 2]},
        constants={
            "lead": np.array([0, 1], INT64),
            "width": np.array([2], INT64),
            "flat": np.array([-1, 4], INT64),
            "w": W,
        },
    )
    same(model, {"Relu": 1, "MatMul": 1}, x=X[:, None])


def test_a_product_between_other_reshapes_stays():
    model = make(
        [node("Reshape", "x pairs", "a"), node("MatMul", "a w", "b"),
         node("Reshape", "b back", "y")],
        inputs={"x": [3, 8]},
        outputs={"y": [3, 4]},
        constants={
            "pairs": np.array([6, 4], INT64), "back": np.array([3, 4], INT64), "w": W
        },
    )  # fmt: skip
    same(model, {"Reshape": 2, "MatMul": 1}, x=np.concatenate([X, X], axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_a_choice_written_as_arithmetic_becomes_one_node(dtype):
    to = 1 if dtype is np.float32 else 6
    model = make(
        [
            node("Not", "c", "other"),
            node("Cast", "c", "yes", to=to),
            node("Cast", "other", "no", to=to),
            node("Mul", "a yes", "p"),
            node("Mul", "no b", "q"),
            node("Add", "q p", "y"),
        ],
        inputs={"c": (np.bool_, [3, 1]), "a": (dtype, [3, 4]), "b": (dtype, [3, 4])},
        outputs={"y": (dtype, [3, 4])},
    )
    c = np.array([[True], [False], [True]])
    same(model, {"Where": 1}, c=c, a=(X * 9).astype(dtype), b=(X * 5).astype(dtype))


def test_a_sum_of_two_conditions_is_no_choice():
    model = make(
        [
            node("Not", "d", "other"),
            node("Cast", "c", "yes", to=1),
            node("Cast", "other", "no", to=1),
            node("Mul", "a yes", "p"),
            node("Mul", "no a", "q"),
            node("Add", "q p", "y"),
        ],
        inputs={"c": (np.bool_, [3, 1]), "d": (np.bool_, [3, 1]), "a": [3, 4]},
        outputs={"y": [3, 4]},
    )
    c = np.array([[True], [False], [True]])
    assert operators(cleaned(model))["Add"] == 1
    after = cleaned(model)
    feeds = {"c": c, "d": np.ones_like(c), "a": X}
    np.testing.assert_array_equal(run(model, **feeds)[0], run(after, **feeds)[0])


def test_remainders_of_negative_integers_are_those_of_tensorflow():
    model = make(
        [node("Div", "x n", "d"), node("Mul", "d n", "m"), node("Sub", "x m", "y")],
        inputs={"x": (np.int32, ["batch", 4])},
        outputs={"y": (np.int32, ["batch", 4])},
        constants={"n": np.int32(6)},
    )
    x = np.array([[-7, -6, -1, 0], [1, 5, 6, 13]], np.int32)
    assert (run(model, x=x)[0] != np.mod(x, 6)).any()
    after = cleaned(model)
    assert operators(after) == {"Mod": 1}
    np.testing.assert_array_equal(run(after, x=x)[0], np.mod(x, 6))


def test_the_same_of_floats_stays():
    model = make(
        [node("Div", "x n", "d"), node("Mul", "n d", "m"), node("Sub", "x m", "y")],
        inputs={"x": ["batch", 4]},
        outputs={"y": ["batch", 4]},
        constants={"n": np.float32(6)},
    )
    same(model, {"Div": 1, "Mul": 1, "Sub": 1}, x=X)


def test_buckets_are_cast_once():
    model = make(
        [
            node("ArgMax", "x", "a", axis=1),
            node("Cast", "a", "a32", to=6),
            node("Gather", "table a32", "row"),
            node("ReduceMax", "row", "z", axes=[1], keepdims=0),
            node("ArgMax", "z", "b", axis=1),
            node("Cast", "b", "b32", to=6),
            node("Concat", "a32 b32", "y", axis=1),
            node("Identity", "row", "t"),
        ],
        inputs={"x": ["batch", 4]},
        outputs={"y": (np.int32, ["batch", 2]), "t": ["batch", 1, 2]},
        constants={"table": W},
        opset=17,
    )
    after = cleaned(model)
    assert operators(after)["Cast"] == 1


def test_rename_depends_on_the_graph_alone():
    def named(suffix):
        return make(
            [node("MatMul", f"x w__{suffix}", f"scope/p__{suffix}:0"),
             node("Relu", f"scope/p__{suffix}:0", "y")],
            inputs={"x": ["batch", 4]}, outputs={"y": ["batch", 2]},
            constants={f"w__{suffix}": W},
        )  # fmt: skip

    found = []
    for suffix in (7, 4711):
        graph = Graph(named(suffix))
        graph.rename()
        found.append(graph.to_model().SerializeToString())
    assert found[0] == found[1]


def test_a_graph_with_a_cycle_is_refused():
    graph = Graph(make([node("Relu", "x", "y")], inputs={"x": [1, 4]}, outputs={"y": [1, 4]}))
    graph.nodes[0].input[0] = "y"
    graph.touch()
    with pytest.raises(ValueError, match="cycle"):
        graph.sort()

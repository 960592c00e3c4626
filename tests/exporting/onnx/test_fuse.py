"""Fused operators answer as the chains that they replace, and near misses are left alone."""

import numpy as np
import pytest
from onnx_graphs import make, node, operators, run

from exphil_tf.exporting.onnx.clean import with_shapes
from exphil_tf.exporting.onnx.fuse import fuse

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 1, 8)).astype(np.float32)
Z = RNG.normal(size=(3, 1, 8)).astype(np.float32)
GAIN = RNG.normal(size=8).astype(np.float32)
BIAS = RNG.normal(size=8).astype(np.float32)
LAST = np.array([-1], np.int64)
SHAPE = ["batch", 1, 8]


def fused(model):
    graph = with_shapes(model)
    fuse(graph)
    return graph.to_model()


def check(model, wanted, **feeds):
    after = fused(model)
    assert operators(after) == wanted
    for one, other in zip(run(model, **feeds), run(after, **feeds), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)
    return after


def inverse(of, *, square=None):
    """1 / sqrt(mean(of²) + epsilon) as tf2onnx writes it."""
    return [
        node("Mul", f"{of} {square or of}", "square"),
        node("ReduceMean", "square last", "mean_square", keepdims=1),
        node("Add", "mean_square epsilon", "shifted"),
        node("Sqrt", "shifted", "root"),
        node("Reciprocal", "root", "r"),
    ]


NUMBERS = {"last": LAST, "epsilon": np.float32(1e-3), "gain": GAIN, "bias": BIAS}


@pytest.mark.parametrize(
    "tail",
    [
        [node("Mul", "x r", "y")],
        [node("Mul", "r x", "n"), node("Mul", "n gain", "y")],
        [node("Mul", "x r", "n"), node("Mul", "gain n", "y")],
        [node("Mul", "r gain", "rg"), node("Mul", "x rg", "y")],
    ],
)
def test_rms_norm(tail):
    model = make(
        [*inverse("x"), *tail], inputs={"x": SHAPE}, outputs={"y": SHAPE}, constants=NUMBERS
    )
    check(model, {"RMSNormalization": 1}, x=X)


@pytest.mark.parametrize(
    "chain",
    [
        [*inverse("x"), node("Mul", "z r", "y")],
        [*inverse("x", square="z"), node("Mul", "x r", "y")],
        [*inverse("x"), node("Mul", "x r", "n"), node("Add", "n r", "y")],
    ],
)
def test_what_only_looks_like_a_norm_stays(chain):
    model = make(chain, inputs={"x": SHAPE, "z": SHAPE}, outputs={"y": SHAPE}, constants=NUMBERS)
    after = fused(model)
    assert "RMSNormalization" not in operators(after)
    assert len(after.graph.node) == len(chain)


@pytest.mark.parametrize("has_gain", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_layer_norm_as_keras_writes_it(has_gain, has_bias):
    factor = "rg" if has_gain else "r"
    model = make(
        [
            node("ReduceMean", "x last", "mean", keepdims=1),
            node("Neg", "mean", "minus"),
            node("Sub", "x mean", "centred"),
            *inverse("centred"),
            *([node("Mul", "r gain", "rg")] if has_gain else []),
            node("Mul", f"x {factor}", "scaled"),
            node("Mul", f"minus {factor}", "moved"),
            *([node("Add", "moved bias", "shift")] if has_bias else []),
            node("Add", "scaled shift" if has_bias else "scaled moved", "y"),
        ],
        inputs={"x": SHAPE},
        outputs={"y": SHAPE},
        constants=NUMBERS,
    )
    check(model, {"LayerNormalization": 1}, x=X)


@pytest.mark.parametrize("factor", ["r", "scaled"])
def test_layer_norm_without_weights_as_attention_writes_it(factor):
    model = make(
        [
            node("ReduceMean", "x last", "mean", keepdims=1),
            node("Sub", "x mean", "centred"),
            *inverse("centred"),
            *([node("Mul", "half r", "scaled")] if factor == "scaled" else []),
            node("Mul", f"centred {factor}", "y"),
        ],
        inputs={"x": SHAPE},
        outputs={"y": SHAPE},
        constants=NUMBERS | {"half": np.float32(0.5)},
    )
    check(model, {"LayerNormalization": 1}, x=X)


@pytest.mark.parametrize("sum_is_read", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, ["batch", 8]])
def test_norm_of_a_sum(sum_is_read, shape):
    outputs = {"y": shape} | ({"u": shape} if sum_is_read else {})
    model = make(
        [
            node("Add", "x z", "total"),
            *inverse("total"),
            node("Mul", "total r", "n"),
            node("Mul", "n gain", "y"),
            node("Relu", "total", "u"),
        ],
        inputs={"x": shape, "z": shape},
        outputs=outputs,
        constants=NUMBERS,
    )
    wanted = {"SkipSimplifiedLayerNormalization": 1} | ({"Relu": 1} if sum_is_read else {})
    feeds = {"x": X.reshape(3, *shape[1:]), "z": Z.reshape(3, *shape[1:])}
    check(model, wanted, **feeds)


def test_norm_of_a_sum_that_is_repeated_over_rows_stays():
    model = make(
        [node("Add", "x bias", "total"), *inverse("total"), node("Mul", "total r", "y")],
        inputs={"x": SHAPE},
        outputs={"y": SHAPE},
        constants=NUMBERS,
    )
    check(model, {"Add": 1, "RMSNormalization": 1}, x=X)


def test_softplus_is_exact_up_to_rounding_and_beyond_its_limit():
    model = make([node("Softplus", "x", "y")], inputs={"x": [1, 9]}, outputs={"y": [1, 9]})
    x = np.array([[-90, -20, -8, -1, 0, 1, 8, 40, 79]], np.float32)
    exact = np.logaddexp(0, x.astype(np.float64))
    after = fused(model)
    assert "Softplus" not in operators(after)
    np.testing.assert_allclose(run(after, x=x)[0], exact, rtol=1e-6, atol=1.2e-7)
    far = np.full((1, 9), 1e30, np.float32)
    assert np.isfinite(run(after, x=far)[0]).all()


@pytest.mark.parametrize(("axis", "keeps", "goes"), [(1, 1, True), (-2, 1, True), (1, 0, False),
                                                     (2, 1, False)])  # fmt: skip
def test_sum_over_rows(axis, keeps, goes):
    model = make(
        [node("ReduceSum", "x axis", "y", keepdims=keeps)],
        inputs={"x": ["batch", 4, 8]},
        outputs={"y": ["batch", "rows", 8] if keeps else ["batch", 8]},
        constants={"axis": np.array([axis], np.int64)},
    )
    x = RNG.normal(size=(3, 4, 8)).astype(np.float32)
    check(model, {"MatMul": 1} if goes else {"ReduceSum": 1}, x=x)

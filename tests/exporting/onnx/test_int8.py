"""Integer products against integer arithmetic in numpy, and against Keras' fake quantization."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_graphs import SCALE, ZERO, make, node, on_grid, operators, product, run

from exphil_tf.exporting.onnx.graph import Graph
from exphil_tf.exporting.onnx.int8 import NotOnGrid, quantize_products, quantized_weight
from exphil_tf.exporting.onnx.tables import SMALLEST, pack_tables
from models.layers.quantized import block_size


def converted(model, activations):
    graph = Graph(model)
    quantize_products(graph, activations)
    return graph.to_model()


# -- The grid --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    inner=st.integers(1, 40),
    width=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    size=st.floats(1e-6, 1e6),
)
def test_the_grid_is_found_again(inner, width, seed, size):
    weight, steps, scale = on_grid(inner, width, seed)
    found = quantized_weight(weight * np.float32(size))
    np.testing.assert_array_equal(found.values, steps)
    np.testing.assert_allclose(found.scales, scale * np.float32(size), rtol=1e-5)


def test_the_grid_of_some_rows_of_a_kernel():
    weight, *_ = on_grid(200, 30)
    part = weight[:8]
    found = quantized_weight(part)
    np.testing.assert_allclose(found.values * found.scales, part, atol=2e-6)


def test_a_column_of_zeros_stays_zero():
    weight, *_ = on_grid(16, 3)
    weight[:, 1] = 0
    found = quantized_weight(weight)
    assert not found.values[:, 1].any()
    assert np.isfinite(found.scales).all()


def test_weights_on_no_grid_are_refused():
    weight, *_ = on_grid(64, 5)
    weight[7, 3] += 0.4 * np.abs(weight[:, 3]).max() / 127
    with pytest.raises(NotOnGrid, match="not on the int8 grid: column 3 is"):
        quantized_weight(weight)


# -- Products --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inner", "width"), [(5, 3), (64, 17), (269, 48)])
@pytest.mark.parametrize("rank", [2, 3])
def test_static_product_equals_integer_arithmetic(inner, width, rank):
    rng = np.random.default_rng(1)
    bias = rng.normal(size=width).astype(np.float32)
    after = converted(product(inner, width, bias=bias, rank=rank), "static")
    assert operators(after) == {"QuantizeLinear": 1, "MatMulIntegerToFloat": 1}
    # Off the places halfway between two steps.
    shape = (4, inner) if rank == 2 else (4, 1, inner)
    steps_of_x = rng.integers(-150, 180, shape) + rng.uniform(-0.45, 0.45, shape)
    x = (steps_of_x * SCALE).astype(np.float32)
    quantized = np.clip(np.rint(x / SCALE) + ZERO, 0, 255).astype(np.int32)
    _, steps, scale = on_grid(inner, width)
    total = (quantized - int(ZERO)) @ steps
    expected = total * (SCALE * scale).astype(np.float64) + bias
    np.testing.assert_allclose(run(after, x=x)[0], expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("ends", [(-10.03, 10.01), (-0.31, 0.97), (0.0, 2.53)])
def test_static_product_rounds_as_tensorflow_does(ends):
    """Over the whole range, its ends and beyond."""
    low, high = ends
    scale = np.float32((high - low) / 255)
    model = make(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("DequantizeLinear", "q scale zero", "d"),
            node("MatMul", "d w", "y"),
        ],
        inputs={"x": ["batch", 1]},
        outputs={"y": ["batch", 1]},
        constants={
            "scale": scale,
            "zero": np.uint8(np.rint(-low / scale)),
            "w": np.ones((1, 1), np.float32),
        },
    )
    x = np.concatenate([np.linspace(1.1 * low, 1.1 * high, 996), ends, [0]])
    x = x.astype(np.float32)[:, None]
    found = run(converted(model, "static"), x=x)[0]
    wanted = np.asarray(tf.quantization.fake_quant_with_min_max_vars(x, low, high))
    np.testing.assert_allclose(found, wanted, atol=1e-3 * scale)


def rounded_in_blocks(x, block):
    """Activations as MatMulNBits rounds them: int8 per row and block, scale max|x| / 127."""
    padded = np.zeros((len(x), -(-x.shape[1] // block) * block), np.float32)
    padded[:, : x.shape[1]] = x
    blocks = padded.reshape(len(x), -1, block)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / 127
    rounded = np.rint(blocks / np.where(scale > 0, scale, 1)) * scale
    return rounded.reshape(len(x), -1)[:, : x.shape[1]]


@pytest.mark.parametrize(("inner", "width", "block"), [(16, 48, 16), (256, 32, 128), (269, 40, 32)])
def test_dynamic_product_rounds_by_row_and_block(inner, width, block):
    assert block_size(inner) == block
    rng = np.random.default_rng(1)
    bias = rng.normal(size=width).astype(np.float32)
    after = converted(product(inner, width, bias=bias), "dynamic")
    assert operators(after) == {"MatMulNBits": 1}
    x = (rng.normal(size=(4, inner)) * [[0.01], [1], [30], [0]]).astype(np.float32)
    weight, *_ = on_grid(inner, width)
    answer = run(after, x=x)[0]
    expected = rounded_in_blocks(x, block) @ weight + bias
    exact = x @ weight + bias
    scale = np.abs(x).max(axis=1, keepdims=True)
    assert (np.abs(answer - expected) <= 1e-4 * scale + 1e-5).all()
    # It really rounds: a float product is farther away than that.
    assert np.abs(answer - exact)[1:3].max() > 1e-3


def test_rows_do_not_share_ranges():
    """One loud row does not make the others coarser, in either form."""
    x = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    loud = np.concatenate([x, x[:1] * 1000])
    for activations in ("static", "dynamic"):
        after = converted(product(64, 20), activations)
        np.testing.assert_allclose(run(after, x=loud)[0][:2], run(after, x=x)[0], rtol=1e-5)


def test_extreme_bytes_do_not_overflow():
    """255 * 127 twice exceeds 16 bits, which kernels without VNNI would add in."""
    weight = np.full((64, 8), 1.0, np.float32)
    model = make(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("DequantizeLinear", "q scale zero", "d"),
            node("MatMul", "d w", "y"),
        ],
        inputs={"x": ["batch", 64]},
        outputs={"y": ["batch", 8]},
        constants={"scale": np.float32(1 / 255), "zero": np.uint8(0), "w": weight},
    )
    x = np.ones((1, 64), np.float32)
    for activations in ("static", "dynamic"):
        np.testing.assert_allclose(run(converted(model, activations), x=x)[0], 64.0, rtol=1e-5)


def test_two_products_of_one_input_share_its_rounding():
    weight, *_ = on_grid(16, 4)
    model = make(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("DequantizeLinear", "q scale zero", "d"),
            node("MatMul", "d w", "y"),
            node("MatMul", "d v", "z"),
        ],
        inputs={"x": ["batch", 16]},
        outputs={"y": ["batch", 4], "z": ["batch", 4]},
        constants={"scale": SCALE, "zero": ZERO, "w": weight, "v": -weight},
    )
    after = converted(model, "static")
    assert operators(after) == {"QuantizeLinear": 1, "MatMulIntegerToFloat": 2}


def test_a_summand_that_is_no_bias_stays_outside():
    weight, *_ = on_grid(16, 4)
    model = make(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("DequantizeLinear", "q scale zero", "d"),
            node("MatMul", "d w", "p"),
            node("Add", "p z", "y"),
        ],
        inputs={"x": ["batch", 16], "z": ["batch", 4]},
        outputs={"y": ["batch", 4]},
        constants={"scale": SCALE, "zero": ZERO, "w": weight},
    )
    assert operators(converted(model, "dynamic")) == {"MatMulNBits": 1, "Add": 1}


def test_what_is_not_quantized_is_refused_by_name():
    plain = make(
        [node("MatMul", "x w", "y")],
        inputs={"x": ["batch", 16]},
        outputs={"y": ["batch", 4]},
        constants={"w": on_grid(16, 4)[0]},
    )
    with pytest.raises(NotOnGrid, match="y: the input of this product is not quantized"):
        converted(plain, "static")
    off = product(16, 4)
    for tensor in off.graph.initializer:
        if tensor.name == "w":
            values = np.random.default_rng(5).normal(size=(16, 4)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, "w"))
    with pytest.raises(NotOnGrid, match="y: weights are not on the int8 grid"):
        converted(off, "dynamic")


def test_products_of_computed_values_stay():
    model = make(
        [node("MatMul", "x z", "y")],
        inputs={"x": ["batch", 1, 4], "z": ["batch", 4, 2]},
        outputs={"y": ["batch", 1, 2]},
    )
    assert operators(converted(model, "static")) == {"MatMul": 1}


# -- Tables ----------------------------------------------------------------------------------------


def looked_up(table):
    model = make(
        [node("Gather", "table i", "y")],
        inputs={"i": (np.int64, ["batch"])},
        outputs={"y": (table.dtype, ["batch", table.shape[1]])},
        constants={"table": table},
    )
    graph = Graph(model)
    count = pack_tables(graph)
    after = graph.to_model()
    rows = np.arange(len(table))
    return count, model.ByteSize(), after.ByteSize(), run(after, i=rows)[0]


def test_tables_of_small_whole_numbers_lose_nothing():
    table = np.random.default_rng(0).integers(0, 2, (400, 28)).astype(np.float32)
    count, before, after, answer = looked_up(table)
    assert count == 1
    assert after < 0.3 * before
    np.testing.assert_array_equal(answer, table)


def test_tables_on_a_grid_lose_nothing_worth_a_name():
    table, *_ = on_grid(400, 64)
    count, before, after, answer = looked_up(table)
    assert count == 1
    assert after < 0.3 * before
    np.testing.assert_allclose(answer, table, atol=1e-6)


@pytest.mark.parametrize("rows", [400, SMALLEST // 64 - 1])
def test_other_and_small_tables_stay(rows):
    table = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
    if rows < 400:
        table = np.zeros_like(table)
    count, before, after, answer = looked_up(table)
    assert count == 0
    assert abs(after - before) < 64
    np.testing.assert_array_equal(answer, table)

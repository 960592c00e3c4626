"""The proof finds every way in which a product can stay float."""

import numpy as np
import pytest
from onnx_graphs import SCALE, ZERO, make, node, on_grid, product

from exphil_tf.exporting.onnx.graph import Graph
from exphil_tf.exporting.onnx.int8 import quantize_products
from exphil_tf.exporting.verify_int8 import (
    NotInteger,
    example_feeds,
    runs_integer_blocks,
    verify_integer,
)

WEIGHT, STEPS, SCALES = on_grid(64, 16)


def converted(model, activations):
    graph = Graph(model)
    quantize_products(graph, activations)
    return graph.to_model()


def proven(model, **options):
    return verify_integer(model, example_feeds(model), **options)


@pytest.mark.parametrize(
    ("activations", "operator"), [("static", "MatMulIntegerToFloat"), ("dynamic", "MatMulNBits")]
)
def test_an_integer_product_passes(activations, operator):
    proof = proven(converted(product(64, 16), activations), products=1)
    assert proof.integer == {operator: 1}
    assert proof.float_products == 0


def test_a_float_weight_is_named():
    model = make(
        [node("MatMul", "x w", "y", name="the_product")],
        inputs={"x": ["batch", 64]},
        outputs={"y": ["batch", 16]},
        constants={"w": WEIGHT},
    )
    with pytest.raises(NotInteger, match=r"the_product: MatMul with a float weight \(64 x 16\)"):
        proven(model)


def test_weights_that_onnx_runtime_turns_back_into_float_are_found():
    """int8 in the file, float in the kernel: what the bias addition makes of plain QDQ."""
    model = make(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("DequantizeLinear", "q scale zero", "d"),
            node("DequantizeLinear", "w ws", "wd", axis=1),
            node("MatMul", "d wd", "p"),
            node("Add", "p b", "y"),
        ],
        inputs={"x": ["batch", 64]},
        outputs={"y": ["batch", 16]},
        constants={
            "scale": np.float32(0.1), "zero": np.uint8(128), "w": STEPS.astype(np.int8),
            "ws": SCALES, "b": np.ones(16, np.float32),
        },
    )  # fmt: skip
    with pytest.raises(NotInteger, match="float"):
        proven(model)


def test_a_four_bit_or_float_kernel_is_found():
    model = converted(product(64, 16), "dynamic")
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "accuracy_level":
            attribute.i = 1
    with pytest.raises(NotInteger, match=r"want 8 bits, accuracy level 4. Received: \(8, 1\)"):
        proven(model)


def test_the_number_of_products_must_be_right():
    with pytest.raises(NotInteger, match="want 2 integer products"):
        proven(converted(product(64, 16), "static"), products=2)


def test_a_graph_without_products_is_no_integer_graph():
    model = make([node("Relu", "x", "y")], inputs={"x": [1, 4]}, outputs={"y": [1, 4]})
    with pytest.raises(NotInteger, match="no integer product"):
        proven(model)


def test_sums_and_products_of_computed_values_may_stay_float():
    model = make(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("ms.MatMulIntegerToFloat", "q w scale ws zero", "y"),
            node("MatMul", "ones z", "s"),
            node("MatMul", "z z", "u"),
        ],
        inputs={"x": ["batch", 1, 64], "z": ["batch", 4, 4]},
        outputs={"y": ["batch", 1, 16], "s": ["batch", 1, 4], "u": ["batch", 4, 4]},
        constants={
            "ones": np.ones((1, 1, 4), np.float32),
            "w": STEPS.astype(np.int8),
            "ws": SCALES,
            "scale": SCALE,
            "zero": ZERO,
        },
    )
    assert proven(model).float_products == 2


def test_blocks_are_multiplied_in_integers_here():
    assert runs_integer_blocks()

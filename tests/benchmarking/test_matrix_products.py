"""A step's matrix products are counted off its graph; memory at its peak."""

import math

import numpy as np
import tensorflow as tf

from exphil_tf.benchmarking.matrix_products import Product, floor, products
from exphil_tf.benchmarking.memory import peak_bytes


def graph_of(function, *shapes):
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    return traced.graph.as_graph_def(add_shapes=True)


def test_forward_and_backward_products_count():
    def gradient(x, w):
        with tf.GradientTape() as tape:
            tape.watch((x, w))
            y = x @ w
        return tape.gradient(y, (x, w))

    shape = {"x": (5, 3), "w": (3, 7)}
    found = products(graph_of(gradient, *shape.values()))
    # y itself is not needed, but the graph holds it.
    assert found == {Product(1, 5, 3, 7): 1, Product(1, 5, 7, 3): 1, Product(1, 3, 5, 7): 1}
    assert Product(2, 5, 3, 7).flops == 2 * 2 * 5 * 3 * 7


def test_products_in_loops_count_once_a_turn_and_vectors_not_at_all():
    def loop(h, w, v):
        def turn(i, h):
            return i + 1, tf.tanh(h @ w) + tf.matmul(h, v)

        start = (tf.constant(0), h)
        return tf.while_loop(lambda i, _: i < 9, turn, start, maximum_iterations=9)[1]

    found = products(graph_of(loop, (4, 6), (6, 6), (6, 1)))
    assert found == {Product(1, 4, 6, 6): 9}
    result = floor(found)()
    assert result.shape == (1, 4, 6)
    assert np.isfinite(result).all()


def test_batches_of_products():
    found = products(graph_of(tf.linalg.matmul, (2, 3, 4, 5), (3, 5, 6)))
    assert found == {Product(6, 4, 5, 6): 1}


def test_memory_at_its_peak():
    size = 64 << 20
    found = peak_bytes(lambda: np.ones(size, np.uint8).sum())
    assert math.isnan(found) or 0.9 * size < found < 1.5 * size

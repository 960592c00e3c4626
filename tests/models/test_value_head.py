"""The value head: shapes, its start at 0, its gradient, its precision."""

import keras
import numpy as np
import tensorflow as tf

from models.heads.value import ValueHead

WIDTH = 12


def hidden(*lead: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).standard_normal((*lead, WIDTH)), tf.float32)


def test_values_start_at_0_and_learn_under_xla():
    head = ValueHead(WIDTH, hidden=(16, 8), seed=3)
    x = hidden(4, 6)
    assert head(x).shape == (4, 6)
    assert head(x[:, 0]).shape == (4,)
    np.testing.assert_array_equal(head(x), 0)
    wanted = tf.reduce_sum(x, axis=-1)
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(head.trainable_variables)

    @tf.function(jit_compile=True, autograph=False)
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((head(x) - wanted) ** 2)
        gradients = tape.gradient(loss, head.trainable_variables)
        optimizer.apply_gradients(zip(gradients, head.trainable_variables, strict=True))
        return loss

    losses = [float(train()) for _ in range(200)]
    assert losses[0] > 5
    assert losses[-1] < 0.1


def test_gradients_reach_the_backbone_only_if_asked():
    for stops in (True, False):
        head = ValueHead(WIDTH, stop_gradient=stops)
        head.output_proj.kernel.assign(tf.ones_like(head.output_proj.kernel))
        x = hidden(3, 2)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(head(x))
        gradient = tape.gradient(total, x)
        assert (gradient is None) == stops
        if gradient is not None:
            assert np.abs(gradient).max() > 0


def test_weights_are_a_function_of_the_seed_and_values_are_float32():
    one, same, other = (ValueHead(WIDTH, seed=seed) for seed in (1, 1, 2))
    kernels = [head.hidden_layers[0].kernel.numpy() for head in (one, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-3
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        head = ValueHead(WIDTH)
        assert head(tf.cast(hidden(2, 3), "bfloat16")).dtype == tf.float32
        assert {w.dtype for w in head.weights} == {"float32"}
    finally:
        keras.config.set_dtype_policy("float32")

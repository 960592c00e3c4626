"""Gradient checkpointing: the same numbers, from intermediate results that are not kept."""

from typing import Any

import contracts
import numpy as np
import pytest
import tensorflow as tf
from any_backbone import any_backbone

from models.backbones import BACKBONES
from models.layers.dropout import Dropout
from models.layers.quantized import ActivationQuantizer, ranges
from models.layers.recompute import recomputed

SIZES = {
    "hidden": (16, 16, 16), "num_layers": 3, "state_size": 4, "num_heads": 2, "window_size": 5,
    "mamba_heads": 4, "dropout": 0.3,
}  # fmt: skip


def gradients(name: str, **options) -> list[np.ndarray]:
    layer = any_backbone(name, **SIZES, **options).layer(seed=0)
    layer.build((None, None, contracts.FEATURES))
    x, is_resetting = (tf.constant(v) for v in contracts.inputs())
    with tf.GradientTape() as tape:
        tape.watch(x)
        state = layer.initial_state(contracts.BATCH)
        y, state = layer.unroll(x, state, is_resetting, training=True)
        loss = tf.reduce_sum(tf.sin(y))
    found = tape.gradient(loss, [x, *layer.trainable_variables])
    assert all(g is not None for g in found)
    return [np.asarray(v) for v in (y, *tf.nest.flatten(state), *found)]


@pytest.mark.parametrize(
    ("name", "every"),
    [
        pytest.param(name, every, marks=() if every == 1 or name == "mamba" else pytest.mark.slow)
        for name in sorted(BACKBONES)
        for every in (1, 2)
    ],
)
def test_outputs_states_and_gradients_are_those_of_keeping_everything(name, every):
    """Dropout's masks too, which the second pass must not draw anew."""
    want = gradients(name)
    got = gradients(name, gradient_checkpoint=True, checkpoint_every=every)
    for one, other in zip(want, got, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def count_products(function) -> int:
    x, w = tf.ones((8, 8)), tf.Variable(tf.eye(8))

    @tf.function(jit_compile=True, autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(function(x, w) ** 2)
        return tape.gradient(loss, w)

    compiled: Any = gradient
    np.testing.assert_allclose(compiled(x), compiled.python_function(x), rtol=1e-5)
    return compiled.experimental_get_compiler_ir(x)(stage="optimized_hlo").count(" dot(")


def test_a_compiler_does_not_merge_the_second_pass_with_the_first():
    def layers(x, w):
        for _ in range(3):
            x = tf.tanh(x @ w)
        return x

    kept = count_products(layers)
    again = count_products(lambda x, w: recomputed(lambda x: layers(x, w), x))
    assert again == kept + 3


def test_a_moving_range_moves_once():
    def low(function) -> float:
        quantizer = ActivationQuantizer()
        quantizer.build()
        x = tf.constant([[-9.0, 9.0]])
        with tf.GradientTape() as tape, ranges("observe"):
            tape.watch(x)
            y = function(quantizer, x)
        assert tape.gradient(y, x) is not None
        return float(quantizer.low.value)

    assert low(recomputed) == low(lambda f, x: f(x)) != -6.0


def test_dropout_outside_draws_as_ever():
    layer, x = Dropout(0.5, seed=0), tf.ones((4, 64))
    one, other = (np.asarray(layer(x, training=True)) for _ in range(2))
    assert (one != other).any()

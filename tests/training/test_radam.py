"""RAdam against Algorithm 2 of the paper, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.radam import RAdam
from exphil_tf.training.run_config import OptimizerConfig

GRADIENTS = np.array([0.3, -0.2, 0.5, 0.4, -0.1, 0.25, 0.3, -0.6, 0.05, 0.2])
LR, BETA_1, BETA_2 = 0.01, 0.9, 0.999


def by_the_paper(gradients: np.ndarray) -> list[float]:
    """The variable after each step, from 1."""
    value, m, v, longest, values = 1.0, 0.0, 0.0, 2 / (1 - BETA_2) - 1, []
    for t, g in enumerate(gradients, start=1):
        m, v = BETA_1 * m + (1 - BETA_1) * g, BETA_2 * v + (1 - BETA_2) * g * g
        corrected = m / (1 - BETA_1**t)
        length = longest - 2 * t * BETA_2**t / (1 - BETA_2**t)
        if length > 4:
            root = np.sqrt((1 - BETA_2**t) / v)
            top = (length - 4) * (length - 2) * longest
            factor = np.sqrt(top / ((longest - 4) * (longest - 2) * length))
            value -= LR * factor * corrected * root
        else:
            value -= LR * corrected
        values.append(value)
    return values


@pytest.mark.parametrize("jit", [False, True])
def test_steps_are_those_of_the_paper(jit):
    variable = keras.Variable(np.ones(1, np.float32))
    optimizer = RAdam(LR, epsilon=1e-8)
    optimizer.build([variable])
    step = tf.function(lambda g: optimizer.apply([g], [variable]), jit_compile=jit, autograph=False)
    values = []
    for gradient in GRADIENTS:
        step(tf.constant([gradient], tf.float32))
        values.append(float(variable.numpy()[0]))
    expected = by_the_paper(GRADIENTS)
    np.testing.assert_allclose(np.diff([1.0, *values]), np.diff([1.0, *expected]), rtol=2e-3)
    # Four steps of momentum, of which the first is the gradient itself; then small adaptive ones.
    assert values[0] == pytest.approx(1 - 0.01 * 0.3)
    assert abs(values[4] - values[3]) < 0.2 * abs(values[3] - values[2])


def test_a_late_step_is_adams():
    """The rectification tends to 1: by then a step is as long as the learning rate."""
    variable = keras.Variable(np.zeros(1, np.float32))
    optimizer = RAdam(0.01, epsilon=1e-8)
    optimizer.build([variable])
    optimizer.iterations.assign(20_000)
    for state in optimizer.variables:
        if "momentum" in state.path or "velocity" in state.path:  # of a gradient that stays 0.5
            state.assign([0.5 if "momentum" in state.path else 0.25])
    optimizer.apply([tf.constant([0.5])], [variable])
    assert float(variable.numpy()[0]) == pytest.approx(-0.01, rel=1e-4)


def test_its_decay_is_decoupled_and_of_kernels_alone():
    kernel = keras.Variable(np.ones((2, 2), np.float32), name="kernel")
    bias = keras.Variable(np.ones(2, np.float32), name="bias")
    config = OptimizerConfig(optimizer="radam", weight_decay=0.1)
    optimizer = build_optimizer(config, 0.5, [kernel, bias])
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), 0.95)
    np.testing.assert_allclose(bias.numpy(), 1.0)

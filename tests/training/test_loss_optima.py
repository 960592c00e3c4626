"""What each option of the loss makes a policy say: the optimum over logits, known beforehand.

A component's targets have a distribution q. The expected loss must be stationary and least at the
logits of the optimum, which is derived from the loss's definition in float64.
"""

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.training import losses
from exphil_tf.training.run_config import LossConfig

SIZES = ControllerCodec().sizes
AXIS = "c_x"
Q = np.random.default_rng(3).dirichlet(np.full(SIZES[AXIS], 0.7))
PRESSED = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.25, 0.6])
"""Share of the frames on which each button is held."""


def expected_loss(component, logits, config, pos_weight=1.0):
    """Float32 `[]`: of one component that says the same on every frame, over its targets."""
    if component == "buttons":
        targets, shares = [np.zeros(8, int), np.ones(8, int)], None
    else:
        targets, shares = list(range(len(Q))), Q
    count = len(targets)
    everywhere = {name: tf.zeros((count, size)) for name, size in SIZES.items()}
    actions = {name: tf.zeros((count,), tf.int32) for name in SIZES}
    actions["buttons"] = tf.zeros((count, 8), tf.int32)
    actions[component] = tf.constant(np.array(targets), tf.int32)
    weight = np.broadcast_to(np.float32(pos_weight), 8)
    if shares is not None:
        everywhere[component] = tf.repeat(logits[None], count, axis=0)
        loss = losses.optimised(everywhere, actions, config=config, pos_weight=weight)
        return tf.reduce_sum(loss * shares.astype(np.float32))
    total = 0.0
    for button, share in enumerate(PRESSED):  # a button at a time: the others' logits stay 0
        only = tf.one_hot(button, 8) * logits
        everywhere["buttons"] = tf.repeat(only[None], 2, axis=0)
        loss = losses.optimised(everywhere, actions, config=config, pos_weight=weight)
        total += loss[0] * (1 - share) + loss[1] * share
    return total


def check_optimum(component, optimum, config, pos_weight=1.0):
    """The expected loss is stationary at these logits, and larger beside them."""
    logits = tf.Variable(np.asarray(optimum, np.float32))
    with tf.GradientTape() as tape:
        least = expected_loss(component, logits, config, pos_weight)
    gradient = tape.gradient(least, logits)
    np.testing.assert_allclose(gradient, 0.0, atol=2e-6)
    for seed in range(3):
        nudge = np.random.default_rng(seed).normal(0, 0.2, len(optimum)).astype(np.float32)
        assert expected_loss(component, logits + nudge, config, pos_weight) > least


def test_plain_likelihood_says_the_distribution():
    check_optimum(AXIS, np.log(Q), LossConfig())
    check_optimum("buttons", np.log(PRESSED / (1 - PRESSED)), LossConfig())


def test_smoothing_says_the_smoothed_distribution():
    smoothed = 0.9 * Q + 0.1 * (1 - Q) / (len(Q) - 1)
    check_optimum(AXIS, np.log(smoothed), LossConfig(label_smoothing=0.1))
    check_optimum("buttons", np.log(PRESSED / (1 - PRESSED)), LossConfig(label_smoothing=0.1))


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_a_weight_of_pressed_buttons_raises_their_odds(weight):
    said = weight * PRESSED / (weight * PRESSED + 1 - PRESSED)
    check_optimum("buttons", np.log(said / (1 - said)), LossConfig(), pos_weight=weight)


def slope(p, gamma):
    """Of -(1 - p)^γ ln p, the focal loss of the true bucket."""
    return gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p


def bisect(rises_fn, low, high):
    """Where an increasing function of arrays crosses 0."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            np.where(rises_fn(middle) < 0, middle, low),
            np.where(rises_fn(middle) < 0, high, middle),
        )
    return low


@pytest.mark.parametrize(("gamma", "weight"), [(2.0, 1.0), (1.5, 3.0)])
def test_focus_on_buttons_says_less_than_the_truth(gamma, weight):
    def rises(p):
        return weight * PRESSED * slope(p, gamma) - (1 - PRESSED) * slope(1 - p, gamma)

    said = bisect(rises, np.full(8, 1e-9), np.full(8, 1 - 1e-9))
    config = LossConfig(focal_loss=True, focal_gamma=gamma)
    check_optimum("buttons", np.log(said / (1 - said)), config, pos_weight=weight)
    if weight == 1:
        assert (np.abs(said - 0.5) <= np.abs(PRESSED - 0.5) + 1e-9).all()


def test_focus_on_a_stick_lowers_its_peak():
    """The slope of every bucket's share of the loss is the same, or one could give to another."""
    gamma = 2.0

    def said(multiplier):
        return bisect(
            lambda p: Q * slope(p, gamma) + multiplier, np.full(len(Q), 1e-12), np.ones(len(Q))
        )

    multiplier = bisect(lambda m: 1 - said(m).sum(), np.float64(1e-6), np.float64(1e3))
    optimum = said(multiplier)
    assert optimum.sum() == pytest.approx(1)
    check_optimum(AXIS, np.log(optimum), LossConfig(focal_loss=True, focal_gamma=gamma))
    assert optimum.max() < 0.98 * Q.max()

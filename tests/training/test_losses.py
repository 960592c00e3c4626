"""Losses against float64 numpy written from the definitions."""

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.training import imitation_metrics, losses
from exphil_tf.training.run_config import LossConfig
from exphil_tf.training.running_sums import RunningSums

SIZES = ControllerCodec().sizes
FLAT = np.ones(8, np.float32)


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    logits = {n: rng.normal(0, 2, (3, 5, k)).astype(np.float32) for n, k in SIZES.items()}
    targets = {n: rng.integers(0, k, (3, 5)).astype(np.int32) for n, k in SIZES.items()}
    targets["buttons"] = rng.integers(0, 2, (3, 5, 8)).astype(np.int32)
    return logits, targets


def probabilities(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def true_probabilities(logits, targets):
    on = 1 / (1 + np.exp(-logits["buttons"].astype(np.float64)))
    found = {"buttons": np.where(targets["buttons"] == 1, on, 1 - on)}
    for name in losses.CATEGORICAL:
        p = probabilities(logits[name])
        found[name] = np.take_along_axis(p, targets[name][..., None], -1)[..., 0]
    return found


def test_nll_is_minus_log_probability(sample):
    logits, targets = sample
    expected = {n: -np.log(p) for n, p in true_probabilities(logits, targets).items()}
    found = losses.nll(logits, targets)
    assert list(found) == list(SIZES)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=1e-6)


def test_nll_of_extreme_logits_is_finite():
    logits = {n: tf.constant(np.full((1, 1, k), -1e4, np.float32)) for n, k in SIZES.items()}
    targets = {n: tf.zeros((1, 1), tf.int32) for n in SIZES} | {
        "buttons": tf.ones((1, 1, 8), tf.int32)
    }
    found = losses.nll(logits, targets)
    np.testing.assert_allclose(found["buttons"], 1e4)
    np.testing.assert_allclose(found["main_x"], np.log(17), rtol=1e-3)  # 1e4 has 4 digits left


def test_plain_loss_is_the_likelihood_of_the_whole_action(sample):
    logits, targets = sample
    terms = {n: -np.log(p) for n, p in true_probabilities(logits, targets).items()}
    expected = terms["buttons"].sum(-1) + sum(terms[n] for n in losses.CATEGORICAL)
    found = losses.optimised(logits, targets, config=LossConfig(), pos_weight=FLAT)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
def test_focal(sample, gamma):
    logits, targets = sample
    config = LossConfig(focal_loss=True, focal_gamma=gamma)
    terms = {
        n: -((1 - p) ** gamma) * np.log(p) for n, p in true_probabilities(logits, targets).items()
    }
    expected = terms["buttons"].sum(-1) + sum(terms[n] for n in losses.CATEGORICAL)
    found = losses.optimised(logits, targets, config=config, pos_weight=FLAT)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_label_smoothing(sample):
    logits, targets = sample
    eps = 0.1
    on = 1 / (1 + np.exp(-logits["buttons"].astype(np.float64)))
    pressed = targets["buttons"]  # never smoothed
    expected = -(pressed * np.log(on) + (1 - pressed) * np.log(1 - on)).sum(-1)
    for name in losses.CATEGORICAL:
        k = SIZES[name]
        soft = np.full((3, 5, k), eps / (k - 1))
        np.put_along_axis(soft, targets[name][..., None], 1 - eps, -1)
        expected = expected - (soft * np.log(probabilities(logits[name]))).sum(-1)
    config = LossConfig(label_smoothing=eps)
    found = losses.optimised(logits, targets, config=config, pos_weight=FLAT)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def button_optimum(rate, *, eps, weight, button=3):
    """Probability that minimises the expected loss of one button pressed at `rate`."""
    logit = np.linspace(-8, 8, 3201).astype(np.float32)
    pos_weight = FLAT.copy()
    pos_weight[button] = weight
    logits = {n: np.zeros((1, len(logit), k), np.float32) for n, k in SIZES.items()}
    logits["buttons"][0, :, button] = logit
    targets = {n: np.zeros((1, len(logit)), np.int32) for n in SIZES}
    total = np.zeros(len(logit))
    for pressed, share in ((1, rate), (0, 1 - rate)):
        targets["buttons"] = np.zeros((1, len(logit), 8), np.int32)
        targets["buttons"][..., button] = pressed
        config = LossConfig(label_smoothing=eps)
        loss = losses.optimised(logits, targets, config=config, pos_weight=pos_weight)
        total += share * np.asarray(loss)[0]
    return 1 / (1 + np.exp(-logit[total.argmin()]))


def test_smoothing_leaves_the_optimum_of_a_button_alone():
    assert button_optimum(0.05, eps=0.1, weight=1) == pytest.approx(0.05, abs=0.005)


def test_optimum_of_a_weighted_button_is_weighted():
    expected = 9 * 0.05 / (9 * 0.05 + 0.95)
    assert button_optimum(0.05, eps=0.0, weight=9) == pytest.approx(expected, abs=0.005)


def test_smoothing_leaves_a_weighted_button_alone():
    # Smoothed and weighted, a button that is never pressed would be pressed at w·ε/(w·ε + 1 − ε)
    # = 0.69.
    assert button_optimum(0.0, eps=0.1, weight=20) < 0.01


def test_auto_weights_follow_press_rates():
    rates = [0.5, 0.1, 0.01, 0.0001, 0.0, 0.9, 1.0, 0.2]
    expected = [1.0, 3.0, np.sqrt(99), 30.0, 30.0, 1.0, 1.0, 2.0]
    np.testing.assert_allclose(losses.button_weights("auto", rates), expected, rtol=1e-6)


def test_given_weights():
    np.testing.assert_array_equal(losses.button_weights("1", None), FLAT)
    eight = losses.button_weights("1,2,3,4 5 6 7 8", None)
    np.testing.assert_array_equal(eight, np.arange(1, 9))
    with pytest.raises(ValueError, match="eight press rates"):
        losses.button_weights("auto", None)


@pytest.mark.parametrize("text", ["many", "1,2", "0", "-1", ""])
def test_wrong_weights_are_refused(text):
    with pytest.raises(ValueError, match="button_pos_weight: want auto, one number or 8"):
        LossConfig(button_pos_weight=text)


def test_totals_are_weighted_means(sample):
    logits, targets = sample
    weight = np.random.default_rng(1).uniform(0, 2, (3, 5)).astype(np.float32)
    weight[0, :2] = 0
    loss = losses.optimised(logits, targets, config=LossConfig(), pos_weight=FLAT)
    running = RunningSums(imitation_metrics.SHAPES)
    for rows in (slice(0, 2), slice(2, 3)):
        part = {n: v[rows] for n, v in logits.items()}, {n: v[rows] for n, v in targets.items()}
        running.add(
            imitation_metrics.batch_sums(*part, loss=loss[rows], weight=tf.constant(weight[rows]))
        )
    running.add(
        imitation_metrics.batch_sums(logits, targets, loss=loss, weight=tf.constant(weight)),
        keep=False,
    )
    sums = running.take()
    measured = imitation_metrics.means(sums)
    terms = {n: -np.log(p) for n, p in true_probabilities(logits, targets).items()}
    per_frame = terms["buttons"].sum(-1) + sum(terms[n] for n in losses.CATEGORICAL)
    assert measured["nll_total"] == pytest.approx(
        (weight * per_frame).sum() / weight.sum(), rel=1e-6
    )
    assert measured["nll"]["c_y"] == pytest.approx((weight * terms["c_y"]).sum() / weight.sum())
    assert sums["weight"] == pytest.approx(weight.sum(), rel=1e-6)
    assert measured["loss"] == pytest.approx(float((weight * loss).numpy().sum()) / weight.sum())
    pressed = (weight[..., None] * targets["buttons"]).sum((0, 1)) / weight.sum()
    np.testing.assert_allclose(list(measured["press_rate"]["actual"].values()), pressed, rtol=1e-5)
    on = 1 / (1 + np.exp(-logits["buttons"]))
    predicted = (weight[..., None] * on).sum((0, 1)) / weight.sum()
    np.testing.assert_allclose(
        list(measured["press_rate"]["predicted"].values()), predicted, rtol=1e-5
    )
    running.reset()
    assert not imitation_metrics.means(running.take())

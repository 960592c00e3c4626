"""Buttons one after the other, against a walk in Python and against all 256 patterns."""

import numpy as np
import tensorflow as tf

from models.heads import button_chain, distribution
from models.heads.button_chain import PATTERNS

RNG = np.random.default_rng(3)
KERNEL = (2 * RNG.standard_normal((8, 8))).astype(np.float32)
LOGITS = RNG.standard_normal(8).astype(np.float32)


def walk(logits: np.ndarray, noise: np.ndarray) -> tuple[list[int], list[float]]:
    """Presses button by button."""
    pressed, seen = [], []
    for button in range(8):
        added = sum(KERNEL[earlier, button] * p for earlier, p in enumerate(pressed))
        seen.append(logits[button] + added)
        pressed.append(int(seen[-1] > noise[button]))
    return pressed, seen


def test_all_patterns_at_once_give_what_a_walk_gives():
    logits = 3 * RNG.standard_normal((300, 1, 8)).astype(np.float32)
    noise = RNG.logistic(size=(300, 1, 8)).astype(np.float32)
    noise[:20] = 0.0  # the mode
    noise[20:40] *= 1e6
    pressed, given = button_chain.choose(tf.constant(logits), KERNEL, tf.constant(noise))
    for row in range(300):
        want, seen = walk(logits[row, 0], noise[row, 0])
        assert np.asarray(pressed)[row, 0].tolist() == want
        np.testing.assert_allclose(np.asarray(given)[row, 0], seen, atol=1e-4)


def test_probabilities_of_all_patterns_are_those_of_samples():
    logits = np.broadcast_to(LOGITS, (256, 8))
    given = button_chain.conditioned(tf.constant(logits), KERNEL, PATTERNS)
    joint = np.exp(-np.asarray(distribution.button_nll(given, PATTERNS), np.float64).sum(-1))
    np.testing.assert_allclose(joint.sum(), 1.0, rtol=1e-5)
    count = 40_000
    noise = RNG.logistic(size=(count, 1, 8)).astype(np.float32)
    drawn, _ = button_chain.choose(tf.fill((count, 1, 8), 0.0) + LOGITS, KERNEL, noise)
    seen = np.bincount((np.asarray(drawn)[:, 0] << np.arange(8)).sum(-1), minlength=256)
    enough = joint * count > 5
    statistic = ((seen - joint * count) ** 2 / (joint * count))[enough].sum()
    freedom = enough.sum() - 1
    assert freedom > 30
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_only_earlier_buttons_count():
    pressed = np.zeros((8, 8), np.int32)
    base = np.asarray(button_chain.conditioned(tf.zeros((8, 8)), KERNEL, pressed))
    moved = button_chain.conditioned(tf.zeros((8, 8)), KERNEL, np.eye(8, dtype=np.int32))
    np.testing.assert_array_equal(base, 0)
    np.testing.assert_allclose(moved, np.triu(KERNEL, 1))


def test_entropy_of_samples_estimates_that_of_the_joint():
    """What `distribution.entropy` says of a chain: the conditionals', whose mean is the joint's."""
    logits = np.broadcast_to(LOGITS, (256, 8))
    given = np.asarray(button_chain.conditioned(tf.constant(logits), KERNEL, PATTERNS), np.float64)
    p = 1 / (1 + np.exp(-given))
    joint = np.where(PATTERNS == 1, p, 1 - p).prod(-1)
    conditionals = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(joint @ conditionals, -(joint * np.log(joint)).sum(), rtol=1e-6)
    others = {
        name: tf.zeros((256, 2)) for name in ("main_x", "main_y", "c_x", "c_y", "shoulder")
    }
    got = distribution.entropy({"buttons": tf.constant(given, tf.float32), **others})["buttons"]
    np.testing.assert_allclose(got, conditionals, rtol=1e-4)

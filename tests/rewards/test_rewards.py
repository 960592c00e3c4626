"""Rewards between frames and their discounted returns, by hand-worked examples."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.rewards import returns, terms

ops: Any = keras.ops


def columns(percent, stock, *, frame=None, absent=None):
    """One row of frames; `percent` and `stock` are pairs (own, opponent) by frame."""
    time = len(percent)
    found = {name: column[None] for name, column in SCHEMA.empty(time).items()}
    found["p.percent"] = np.array(percent, np.float32)[None]
    found["p.stock"] = np.array(stock, np.uint8)[None]
    if frame is not None:
        found["frame"] = np.array(frame, np.int32)[None]
    if absent is not None:
        found["absent"] = np.array(absent, np.uint8)[None]
    return found | {"name": np.zeros(1, np.int32)}


GAME = columns(
    # A hit of 12, one of 7.5 taken, a stock taken at 92 %, a trade, nothing.
    percent=[(0, 80), (0, 92), (7.5, 92), (7.5, 0), (10.5, 4), (10.5, 4)],
    stock=[(4, 3), (4, 3), (4, 3), (4, 2), (4, 2), (4, 2)],
)
REWARDS = [0.12, -0.075, 1.0, 0.01, 0.0]
NO_RESETS = np.zeros((1, 6), bool)


def both_ways(function):
    """Runs in numpy and in a graph, compiled, and returns the numpy result of both."""
    compiled = tf.function(lambda: function(ops), jit_compile=True, autograph=False)
    return function(np), tf.nest.map_structure(lambda x: x.numpy(), compiled())


def test_rewards_are_stocks_and_damage_from_the_own_side():
    for found in both_ways(lambda xp: returns.transitions(GAME, NO_RESETS, discount=0.5, xp=xp)):
        assert found.reward.dtype == found.discount.dtype == np.float32
        np.testing.assert_allclose(found.reward, [REWARDS], atol=1e-6)
        np.testing.assert_array_equal(found.discount, [[0.5] * 5])


def test_every_term_is_zero_sum():
    mirrored = {name: v[..., ::-1] if v.ndim == 3 else v for name, v in GAME.items()}
    for name in terms.TERMS:
        one, other = (
            returns.transitions(game, NO_RESETS, discount=1.0, weights={name: 2.0}).reward
            for game in (GAME, mirrored)
        )
        assert np.abs(one).sum() > 0
        np.testing.assert_array_equal(one, -other)


def test_weights_are_of_known_terms():
    only = returns.transitions(GAME, NO_RESETS, discount=1.0, weights={"stocks": 3.0}).reward
    np.testing.assert_array_equal(only, [[0, 0, 3, 0, 0]])
    for weights in ({"stock": 1.0}, {}):
        with pytest.raises(ValueError, match=r"want some of \['damage', 'stocks'\]"):
            terms.reward(GAME, GAME, weights=weights)


def test_both_losing_a_stock_cancels_out_and_a_jump_of_stocks_counts_once():
    game = columns([(0, 0)] * 3, [(4, 4), (3, 3), (3, 1)])
    found = returns.transitions(game, np.zeros((1, 3), bool), discount=1.0)
    np.testing.assert_array_equal(found.reward, [[0, 1]])


def test_a_new_game_and_a_lost_last_stock_end_the_future():
    """In one row: a game that is won, and another one that starts three frames later."""
    game = columns(
        percent=[(0, 90), (0, 0), (0, 0), (0, 0), (0, 6)],
        stock=[(1, 1), (1, 0), (1, 0), (4, 4), (4, 4)],
        frame=[900, 901, 902, -123, -122],
    )
    resets = np.array([[False, False, False, True, False]])
    for found in both_ways(lambda xp: returns.transitions(game, resets, discount=0.9, xp=xp)):
        np.testing.assert_allclose(found.reward, [[1, 0, 0, 0.06]], atol=1e-6)
        np.testing.assert_allclose(found.discount, [[0, 0.9, 0, 0.9]], atol=1e-6)


def test_no_time_passes_behind_a_recordings_end():
    game = columns([(0, 0), (0, 5), (0, 5), (0, 5)], [(2, 2)] * 4, frame=[7, 8, 8, 8])
    found = returns.transitions(game, np.zeros((1, 4), bool), discount=0.5)
    np.testing.assert_allclose(found.reward, [[0.05, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(found.discount, [[0.5, 1, 1]])


def test_what_was_masked_is_neither_gained_nor_lost():
    """A stock count that is masked for a frame reads 0 there: nobody died."""
    marks = [0, SPOILED | 1, 1, 1]
    game = columns(
        [(0, 0), (50, 0), (0, 0), (3, 0)], [(4, 4), (0, 4), (4, 4), (4, 4)], absent=marks
    )
    found = returns.transitions(game, np.zeros((1, 4), bool), discount=0.5)
    np.testing.assert_allclose(found.reward, [[0, 0, -0.03]], atol=1e-6)
    np.testing.assert_array_equal(found.discount, [[0.5, 0.5, 0.5]])


def test_returns_of_a_worked_example():
    """Bootstrapped with 8, a game's end behind the third frame; then one discount throughout."""
    reward = np.array([[1, 0, -2, 0.5, 1], [1, 1, 1, 1, 1]], np.float32)
    discount = np.array([[0.5, 0.5, 0, 0.5, 0.25], [0.5] * 5], np.float32)
    bootstrap = np.array([8, 0], np.float32)
    want = [[0.5, -1, -2, 2, 3], [1.9375, 1.875, 1.75, 1.5, 1]]
    for found in both_ways(
        lambda xp: returns.discounted_returns(reward, discount, bootstrap, xp=xp)
    ):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, want)


def test_returns_equal_their_sums():
    """Against the definition: every reward times the product of the discounts before it."""
    rng = np.random.default_rng(3)
    reward = rng.standard_normal((4, 23)).astype(np.float32)
    discount = rng.choice([0.0, 0.9, 1.0], (4, 23), p=[0.1, 0.8, 0.1]).astype(np.float32)
    bootstrap = rng.standard_normal(4).astype(np.float32)
    want = np.zeros((4, 23))
    for row in range(4):
        for t in range(23):
            alive = 1.0
            for later in range(t, 23):
                want[row, t] += alive * reward[row, later]
                alive *= discount[row, later]
            want[row, t] += alive * bootstrap[row]
    found = returns.discounted_returns(reward, discount, bootstrap)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_returns_refuse_shapes_that_differ():
    ones = np.ones((2, 3), np.float32)
    for reward, discount in ((ones, ones[:, :2]), (ones[:, :0], ones[:, :0]), (ones[0], ones[0])):
        with pytest.raises(ValueError, match="want reward and discount of one shape"):
            returns.discounted_returns(reward, discount, np.zeros(2, np.float32))


def test_a_half_life_halves():
    # 0.5 ** (1 / 240), the four seconds of slippi-ai.
    assert returns.per_frame_discount(240) == pytest.approx(0.997116, abs=1e-6)
    assert returns.per_frame_discount(480) ** 480 == pytest.approx(0.5)
    with pytest.raises(ValueError, match="want a positive number"):
        returns.per_frame_discount(0)

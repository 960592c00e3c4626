"""The win probability of a score: by hand, from both sides, in numpy and in a graph."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.rewards.win_score import (
    NAMES,
    START,
    as_vector,
    score_features,
    win_logits,
    win_probability,
)

ops: Any = keras.ops
WEIGHTS = {
    "stocks_0": -8.0,
    "stocks_2": 2.0,
    "stocks_3": 4.0,
    "stocks_4": 6.0,
    "percent": -2.0,
    "percent_squared": 0.5,
    "percent_on_last_stock": -1.0,
}


def scores(rows, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "p.stock": rng.integers(0, 6, (rows, 2)).astype(np.uint8),
        "p.percent": rng.uniform(0, 999, (rows, 2)).astype(np.float32),
    }


@pytest.mark.parametrize(
    ("stock", "percent", "want"),
    [
        # 2 - 2 · 0.5 + 0.5 · 0.25 against -2 · 1.2 + 0.5 · 1.44 - 1.2.
        ((2, 1), (50.0, 120.0), 1.125 - (-2.88)),
        ((4, 4), (0.0, 0.0), 0.0),
        ((7, 3), (0.0, 0.0), 6.0 - 4.0),
        ((1, 0), (0.0, 0.0), 8.0),
    ],
)
def test_scores_by_hand(stock, percent, want):
    columns = {"p.stock": np.array(stock, np.uint8), "p.percent": np.array(percent)}
    assert win_logits(columns, as_vector(WEIGHTS)) == pytest.approx(want, rel=1e-5)
    assert win_probability(columns, WEIGHTS) == pytest.approx(1 / (1 + np.exp(-want)), abs=1e-6)


def test_from_the_other_side_it_is_what_is_missing_to_1():
    columns = scores(50)
    here = win_probability(columns, WEIGHTS)
    there = win_probability({name: c[:, ::-1] for name, c in columns.items()}, WEIGHTS)
    np.testing.assert_allclose(here + there, 1, atol=1e-6)
    assert here.std() > 0.2


def test_before_anything_is_learnt_only_an_end_is_known():
    start = dict(zip(NAMES, START, strict=True))
    columns = {"p.stock": np.array([[4, 1], [1, 0], [0, 2]]), "p.percent": np.full((3, 2), 80.0)}
    np.testing.assert_allclose(win_probability(columns, start), [0.5, 1, 0], atol=1e-4)


def test_a_graph_computes_the_same():
    columns = scores(40, seed=1)
    compiled = tf.function(
        lambda given: score_features(given, xp=ops), jit_compile=True, autograph=False
    )
    found = compiled({name: tf.constant(column) for name, column in columns.items()})
    np.testing.assert_allclose(found, score_features(columns), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"percent": np.nan}, {"percent": "1"}, {"percent": True}, {"luck": 1.0}]
)
def test_other_weights_are_refused(changes):
    with pytest.raises(ValueError, match="win_probability: want finite numbers"):
        as_vector(WEIGHTS | changes)
    with pytest.raises(ValueError, match="win_probability: want finite numbers"):
        as_vector({"percent": 1.0})

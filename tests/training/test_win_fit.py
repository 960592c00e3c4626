"""The fit of a win probability: views of games, weights against what made them."""

import numpy as np
import pytest

from exphil_tf.features.packing import pack
from exphil_tf.features.schema import SPOILED
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.records.example import Chunk, ChunkMeta
from exphil_tf.records.manifest import load_manifest
from exphil_tf.rewards.win_score import START
from exphil_tf.training import win_fit
from exphil_tf.training.win_fit import RIDGE, WinView, fit_logistic, fit_win_weights, win_views
from tests.data.conftest import make_game, write_games


def test_a_logistic_regression_finds_its_weights():
    rng, truth = np.random.default_rng(5), np.array([0.2, 1.5, -0.7])
    features = rng.normal(size=(40_000, 3))
    won = (rng.random(40_000) < 1 / (1 + np.exp(-features @ truth))).astype(float)
    found = fit_logistic(features, won, start=np.zeros(3))
    np.testing.assert_allclose(found, truth, atol=0.05)
    chance = 1 / (1 + np.exp(-features @ found))
    slope = features.T @ (chance - won) / len(won) + RIDGE * found
    np.testing.assert_allclose(slope, 0, atol=1e-9)


def test_games_that_leave_no_doubt_are_fitted_too():
    """The ridge alone holds the weights then; Newton's steps must not run away."""
    features = np.array([[1.0, 0.0], [-1.0, 0.0]])
    found = fit_logistic(features, np.array([1.0, 0.0]), start=np.array([0.0, 3.0]))
    assert found[1] == pytest.approx(3.0)
    # 1 / (1 + e^w) = RIDGE · w
    assert 1 / (1 + np.exp(found[0])) == pytest.approx(RIDGE * found[0], rel=1e-6)


def test_weights_of_games_are_those_that_won_them():
    """Of 300 games with four stocks against three, three in four are won: a logit of log 3."""
    stock, percent = np.array([[4, 3]]), np.zeros((1, 2))
    views = [WinView(n, {"p.stock": stock, "p.percent": percent}, n % 4 != 0) for n in range(300)]
    weights = fit_win_weights(views)
    assert weights["stocks_4"] - weights["stocks_3"] == pytest.approx(np.log(3), rel=1e-3)
    assert weights["stocks_0"] == START[0]
    assert fit_win_weights([]) is None


def test_games_without_a_winner_are_left_out(tmp_path):
    made = write_games(tmp_path, (150, 64), perspectives=[3, 2])
    manifest = load_manifest(tmp_path)
    assert list(win_views(manifest, made.folder, "train")) == []


def test_views_are_of_games_that_somebody_won_from_go_on(monkeypatch):
    frames = make_game(0, 200)
    metas = [ChunkMeta(b"a", 3, winner=1), ChunkMeta(b"b", 3), ChunkMeta(b"c", 2, winner=0)]
    games = [[Chunk(meta, 0, True, pack(frames))] for meta in metas]
    monkeypatch.setattr(win_fit, "split_games", lambda *_: iter(games))
    found = list(win_views(None, None, "train"))
    assert [(v.game, v.won) for v in found] == [(0, False), (0, True), (2, False)]
    counts = (frames["frame"] >= GO_FRAME) & (frames["absent"] & SPOILED == 0)
    assert 50 < counts.sum() < 117
    for name in ("p.stock", "p.percent"):
        column = frames[name][counts]
        for found_view, want in zip(found, (column, column[:, ::-1], column[:, ::-1]), strict=True):
            np.testing.assert_array_equal(found_view.columns[name], want)
    assert len(list(win_views(None, None, "train", max_frames=10))) == 2, "whole games"

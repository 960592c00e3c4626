"""A win probability's figures: by hand, of a calibrated forecast, of one that is too sure."""

import numpy as np
import pytest

from exphil_tf.evaluation.win_forecast import BINS, measure_wins
from exphil_tf.rewards.win_score import NAMES, START
from exphil_tf.training.win_fit import WinView, fit_win_weights

STOCKS_4 = dict(zip(NAMES, START, strict=True)) | {"stocks_4": 1.0}
"""Four stocks against fewer give a logit of 1."""


def view(game, own, other, *, won, frames=1):
    stock = np.tile(np.array([own, other]), (frames, 1))
    return WinView(game, {"p.stock": stock, "p.percent": np.zeros((frames, 2))}, won)


def test_figures_by_hand():
    """A game of 3 frames is foretold rightly, one of 1 frame wrongly, with 1 / (1 + e^-1) each."""
    views = [view(0, 4, 3, won=True, frames=3), view(1, 3, 4, won=True, frames=1)]
    found = measure_wins(views, views, STOCKS_4)
    assert found is not None
    sure = 1 / (1 + np.exp(-1))
    assert (found.policy.games, found.frames, found.base_rate) == (2, 4, 1.0)
    want = (3 * (1 - sure) ** 2 + sure**2) / 4
    assert found.policy.brier.value == pytest.approx(want, rel=1e-5)
    # 0.73 came true thrice, 0.27 came true once.
    assert found.policy.ece.value == pytest.approx((3 * (1 - sure) + sure) / 4, rel=1e-5)
    assert (found.base_brier, found.skill_over_base) == (0, None)
    places = [i for i, weight in enumerate(found.policy.calibration.weight) if weight]
    assert places == [int((1 - sure) * BINS), int(sure * BINS)]
    assert [found.policy.calibration.weight[i] for i in places] == [1, 3]
    assert [found.policy.came_true[i].value for i in places] == [1, 1]
    assert found.policy.came_true[0] is None


def games(count, *, seed, logit):
    """Both views of games of 5 frames in which four stocks against three win as `logit` says."""
    rng = np.random.default_rng(seed)
    for game in range(count):
        won = bool(rng.random() < 1 / (1 + np.exp(-logit)))
        yield view(game, 4, 3, won=won, frames=5)
        yield view(game, 3, 4, won=not won, frames=5)


def test_a_calibrated_forecast_is_within_chance_and_one_that_is_too_sure_is_not():
    """In samples of 80 games; a perfect forecast's error is then |mean of 80 coins - p|."""
    train, errors, told = list(games(400, seed=99, logit=1.0)), [], []
    for seed in range(30):
        found = measure_wins(train, games(80, seed=seed, logit=1.0), STOCKS_4)
        errors.append(found.policy.ece.value)
        told.append((found.policy.ece_if_calibrated, found.policy.ece_if_calibrated_most))
        assert found.policy.ece_if_calibrated < found.policy.ece_if_calibrated_most
    chance = 1 / (1 + np.exp(-1))
    # Mean absolute deviation of a binomial mean, √(2/π) σ, and 1.96 σ.
    sigma = np.sqrt(chance * (1 - chance) / 80)
    np.testing.assert_allclose(np.mean(told, axis=0), [0.8 * sigma, 1.96 * sigma], rtol=0.1)
    assert np.mean(errors) == pytest.approx(np.mean(told, axis=0)[0], rel=0.35)
    sure = measure_wins(train, games(80, seed=1, logit=1.0), STOCKS_4 | {"stocks_4": 3.0})
    assert sure.policy.ece.value > sure.policy.ece_if_calibrated_most
    assert sure.policy.ece.low > 0.05
    assert sure.skill_over_lead.high < 0, "the lead was fitted"
    assert sure.lead.ece.value < sure.lead.ece_if_calibrated_most


def test_frames_of_a_game_are_one_outcome():
    """More frames of the same games make nothing surer."""
    few = measure_wins(games(60, seed=3, logit=1.0), games(60, seed=3, logit=1.0), STOCKS_4)
    long = [
        WinView(v.game, {n: np.tile(c, (50, 1)) for n, c in v.columns.items()}, v.won)
        for v in games(60, seed=3, logit=1.0)
    ]
    many = measure_wins(long, long, STOCKS_4)
    assert many.frames == 50 * few.frames
    assert many.policy.brier == pytest.approx(few.policy.brier)
    assert few.policy.brier.low < few.policy.brier.value < few.policy.brier.high
    assert few.skill_over_base.low < few.skill_over_base.value < few.skill_over_base.high


def test_by_turns_no_game_is_told_by_itself():
    """Ten games whose outcomes are coins: what each says of itself is of no use to the others."""
    views = [
        view(n, 4, 3, won=n % 2 == 0, frames=120)._replace(columns=own_mark(n)) for n in range(10)
    ]
    found = measure_wins(views, views, fit_win_weights(views))
    assert found.policy.brier.value < found.by_turns.brier.value - 0.05
    assert found.by_turns.games == 10
    few = views[:9]
    assert measure_wins(few, few, STOCKS_4).by_turns is None


def own_mark(game):
    percent = np.random.default_rng(game).uniform(0, 150, (1, 2)).repeat(120, axis=0)
    return {"p.stock": np.full((120, 2), 4), "p.percent": percent}


def test_without_views_there_is_nothing_to_tell():
    assert measure_wins([], [], STOCKS_4) is None
    assert measure_wins([view(0, 4, 3, won=True)], [], STOCKS_4) is None

"""Bradley-Terry strengths against closed forms, finite differences and repeated draws."""

import math

import numpy as np
import pytest

from exphil_tf.rl.league.payoff import Payoff
from exphil_tf.rl.league.ratings import ANCHOR, ELO, PRIOR_POINTS, fit


def test_two_players_have_the_closed_form():
    """75 of 100: 400 log10(3) points apart, with the delta method's error of a logit."""
    found = fit(["a", "b"], np.array([[0, 75.0], [25, 0]])).ratings(["b"])
    error = ELO / math.sqrt(100 * 0.75 * 0.25)
    assert found["a"].points - found["b"].points == pytest.approx(190.848, abs=0.5)
    assert found["b"].points == ANCHOR and found["b"].low == found["b"].high == ANCHOR
    assert (found["a"].high - found["a"].low) / 2 == pytest.approx(1.96 * error, rel=0.01)


def test_the_fit_is_the_maximum_of_the_posterior():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 20, (5, 5)) * (1 - np.eye(5))
    found = fit(list("abcde"), wins)

    def minus_log(theta):
        total = sum(
            wins[i, j] * math.log(1 + math.exp(theta[j] - theta[i]))
            for i in range(5)
            for j in range(5)
        )
        return total + sum(theta**2) * (ELO / PRIOR_POINTS) ** 2 / 2

    step, eye = 1e-4, np.eye(5)
    gradient = [
        (minus_log(found.strength + step * e) - minus_log(found.strength - step * e)) / (2 * step)
        for e in eye
    ]
    assert np.abs(gradient).max() < 1e-5
    curvature = np.array(
        [
            [
                sum(
                    one * other * minus_log(found.strength + step * (one * a + other * b))
                    for one in (1, -1)
                    for other in (1, -1)
                )
                / (4 * step**2)
                for a in eye
            ]
            for b in eye
        ]
    )
    np.testing.assert_allclose(np.linalg.inv(curvature), found.covariance, rtol=1e-3)


def test_intervals_hold_what_they_promise():
    """Of 300 leagues with known strengths, 95 % of the intervals contain them."""
    rng, truth = np.random.default_rng(1), np.array([0.0, 0.5, 1.2, -0.4])
    share = 1 / (1 + np.exp(truth[None, :] - truth[:, None]))
    inside = []
    for _ in range(300):
        upper = np.triu(rng.binomial(40, share), 1).astype(float)
        wins = upper + np.triu(40 - upper, 1).T
        rated = fit(list("abcd"), wins).ratings(["a", "d"])
        want = ANCHOR + ELO * (truth - truth[[0, 3]].mean())
        inside += [r.low <= at <= r.high for r, at in zip(rated.values(), want, strict=True)]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_who_never_loses_and_who_never_played_stay_finite():
    wins = np.zeros((3, 3))
    wins[0, 1] = 50
    found = fit(["best", "worst", "absent"], wins)
    rated = found.ratings(["worst"])
    assert rated["worst"].is_below(rated["best"])
    assert rated["best"].points < ANCHOR + 3 * PRIOR_POINTS
    assert rated["absent"].low < rated["worst"].points < rated["absent"].high
    assert found.expected("best", "worst") > 0.95
    assert found.expected("best", "worst") + found.expected("worst", "best") == pytest.approx(1)
    assert found.expected("best", "nobody") == 0.5


def test_the_order_of_games_and_of_names_does_not_matter():
    rows = [("a", "b", 10, 7.0), ("b", "c", 10, 2.5), ("c", "a", 4, 1.0), ("b", "a", 5, 1.0)]
    there = fit(list("abc"), Payoff.of(rows).wins("abc")).ratings(["c"])
    back = fit(list("cab"), Payoff.of(rows[::-1]).wins("cab")).ratings(["c"])
    for name in "abc":
        assert there[name].points == pytest.approx(back[name].points, abs=1e-6)
        assert there[name].low == pytest.approx(back[name].low, abs=1e-6)


def test_draws_are_half_a_win_of_each():
    payoff = Payoff.of([("a", "b", 4, 2.5)])
    assert payoff.score("b", "a").wins == 1.5 and payoff.games_of("b") == 4
    with pytest.raises(ValueError, match="want two players"):
        payoff.add("a", "a", games=1, wins=1)
    with pytest.raises(ValueError, match="0 to 1 wins"):
        payoff.add("a", "b", games=1, wins=2)
    with pytest.raises(ValueError, match="want \\[2, 2\\]"):
        fit(["a", "b"], np.ones((2, 2)))


def test_nobody_is_rated_without_players():
    assert fit([], np.zeros((0, 0))).ratings() == {}

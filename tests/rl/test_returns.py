"""What actions are worth, by hand-worked games and by the papers' sums written out in float64."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.rl.returns import Transitions, delayed, gae, n_step, normalised, vtrace

ops: Any = keras.ops
DELAYS = (0, 1, 18, 24)


def game(rewards, *, discount=0.5, cuts=(), terminal=()):
    """One row of transitions."""
    discounts = np.full((1, len(rewards)), discount, np.float32)
    discounts[0, list(terminal)] = 0
    is_cut = np.zeros((1, len(rewards)), bool)
    is_cut[0, list(cuts)] = True
    return Transitions(np.array([rewards], np.float32), discounts, is_cut)


def drawn(seed, *, batch=3, time=12):
    """Games that are decided, cut by the clock, and cut behind their decision, at random."""
    rng = np.random.default_rng(seed)
    discount = np.full((batch, time), 0.9, np.float32)
    is_cut = rng.random((batch, time)) < 0.15
    ends = rng.random((batch, time)) < 0.15
    discount[ends] = 0
    is_cut[:, 1:] |= ends[:, :-1]
    reward = np.where(is_cut, 0, rng.normal(size=(batch, time)))
    values = rng.normal(size=(batch, time + 1)).astype(np.float32)
    return Transitions(reward.astype(np.float32), discount, is_cut), values


def reach(transitions, values, *, row, t):
    """(k, error at t + k, product of discounts before it) while one game goes on, in float64."""
    reward, discount, is_cut = (np.asarray(part[row], np.float64) for part in transitions)
    v, product = values[row].astype(np.float64), 1.0
    for s in range(t, len(reward)):
        if is_cut[s]:
            return
        yield s - t, reward[s] + discount[s] * v[s + 1] - v[s], product
        product *= discount[s]


def over_frames(function, transitions):
    batch, time = transitions.reward.shape
    return np.array([[function(row, t) for t in range(time)] for row in range(batch)])


def test_a_decided_game_has_no_future_and_one_that_the_clock_ended_has():
    values = np.array([[1, 2, 4, 8]], np.float32)
    # Frame 2 is terminal, the next a new game's first.
    decided = game([0, 3, 0], terminal=[1], cuts=[2])
    np.testing.assert_allclose(gae(decided, values, decay=1.0).advantage, [[0.5, 1, 0]])
    np.testing.assert_allclose(gae(decided, values, decay=1.0).target, [[1.5, 3, 4]])
    # The same by the clock: 3 + 0.5 * 4 and half of that.
    timed_out = game([0, 3, 0], cuts=[2])
    np.testing.assert_allclose(gae(timed_out, values, decay=1.0).target, [[2.5, 5, 4]])
    np.testing.assert_allclose(gae(timed_out, values, decay=0.0).target, [[1, 5, 4]])


def test_gae_is_the_sum_of_equation_16():
    transitions, values = drawn(0)

    def paper(row, t):
        errors = reach(transitions, values, row=row, t=t)
        return sum(product * 0.8**k * error for k, error, product in errors)

    wanted = over_frames(paper, transitions)
    for xp in (np, ops):
        found = gae(transitions, values, decay=0.8, xp=xp)
        np.testing.assert_allclose(found.advantage, wanted, atol=1e-5)
        np.testing.assert_allclose(found.target, wanted + values[:, :-1], atol=1e-5)


def test_n_step_returns_bootstrap_behind_n_frames_or_where_a_game_is_cut():
    transitions, values = drawn(1)
    for steps in (1, 3, 40):

        def written_out(row, t, steps=steps):
            errors = [e for e in reach(transitions, values, row=row, t=t) if e[0] < steps]
            return values[row, t] + sum(product * error for _, error, product in errors)

        found = n_step(transitions, values, steps=steps)
        np.testing.assert_allclose(found.target, over_frames(written_out, transitions), atol=1e-5)
    with pytest.raises(ValueError, match="steps: want at least 1"):
        n_step(transitions, values, steps=0)


def test_vtrace_is_the_sum_of_equation_1():
    transitions, values = drawn(2)
    log_rhos = np.random.default_rng(3).normal(size=transitions.reward.shape).astype(np.float32)
    ratios = np.exp(log_rhos.astype(np.float64))
    rho, c = np.minimum(ratios, 1.5), 0.9 * np.minimum(ratios, 1.1)

    def paper(row, t):
        total, traces = 0.0, 1.0
        for k, error, product in reach(transitions, values, row=row, t=t):
            total += product * traces * rho[row, t + k] * error
            traces *= c[row, t + k]
        return values[row, t] + total

    wanted = over_frames(paper, transitions)
    after = np.concatenate([wanted[:, 1:], values[:, -1:]], 1)
    gained = rho * (transitions.reward + transitions.discount * after - values[:, :-1])
    options = {"decay": 0.9, "clip_rho": 1.5, "clip_c": 1.1}
    for xp in (np, ops):
        found = vtrace(transitions, values, log_rhos, **options, xp=xp)
        np.testing.assert_allclose(found.target, wanted, atol=1e-5)
        np.testing.assert_allclose(
            found.advantage, np.where(transitions.is_cut, 0, gained), atol=1e-5
        )


def test_vtrace_of_the_policy_that_played_is_the_whole_return():
    transitions, values = drawn(4)
    same = vtrace(transitions, values, np.zeros_like(transitions.reward))
    np.testing.assert_allclose(same.target, gae(transitions, values, decay=1.0).target, atol=1e-5)


@pytest.mark.parametrize("delay", DELAYS)
def test_a_reward_goes_to_the_action_that_came_in_time_for_it(delay):
    """The action of frame 3 hits: at delay d it is pressed on frame 4 + d, which pays."""
    frames = 8
    rewards = np.zeros(frames + delay)
    rewards[3 + delay] = 1
    moved = delayed(game(rewards), delay=delay)
    assert moved.reward.shape == (1, frames)
    np.testing.assert_array_equal(moved.reward[0], np.eye(frames)[3])
    values = np.zeros((1, frames + 1), np.float32)
    found = gae(moved, values, decay=1.0).advantage[0]
    np.testing.assert_allclose(found, [0.125, 0.25, 0.5, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("delay", DELAYS)
def test_an_action_too_late_for_its_game_gets_nothing_of_the_next_one(delay):
    """A game is decided on the step to frame `last`; the new one pays 5 on its first step."""
    frames, last = 40, 30
    rewards = np.zeros(frames + delay)
    rewards[last - 1], rewards[last + 1] = 2, 5
    moved = delayed(game(rewards, terminal=[last - 1], cuts=[last]), delay=delay)
    too_late = np.arange(last - delay, last + 1)
    np.testing.assert_array_equal(np.flatnonzero(moved.is_cut[0]), too_late)
    found = gae(moved, np.zeros((1, frames + 1), np.float32), decay=1.0).advantage[0]
    in_time = last - 1 - delay
    np.testing.assert_allclose(found[in_time - 2 : in_time + 1], [0.5, 1, 2])
    np.testing.assert_array_equal(found[too_late], np.zeros(delay + 1))
    # The new game's first reward is seen by frames that are cut, or by no action: 5 is paid while
    # what is pressed is still the untouched controller of its start.
    assert found[last + 1] == (5 if delay == 0 else 0)


def test_games_of_a_batch_do_not_touch_one_another():
    transitions, values = drawn(5)
    whole = gae(transitions, values, decay=0.9).advantage
    for row in range(3):
        alone = Transitions(*(part[row : row + 1] for part in transitions))
        found = gae(alone, values[row : row + 1], decay=0.9).advantage
        np.testing.assert_array_equal(found[0], whole[row])


def test_advantages_are_normalised_over_frames_that_count():
    weight = np.array([[1, 1, 0], [1, 0, 1]], np.float32)
    advantage = np.array([[1, 3, 99], [5, 99, 7]], np.float32)
    found = normalised(advantage, weight)
    np.testing.assert_allclose(found, np.array([[-3, -1, 0], [1, 0, 3]]) / 5**0.5, rtol=1e-5)
    same = tf.function(lambda: normalised(advantage, weight, ops), jit_compile=True)()
    np.testing.assert_allclose(same, found, rtol=1e-5)


def test_wrong_shapes_are_refused():
    transitions, values = drawn(6)
    with pytest.raises(ValueError, match=r"values \[batch, time \+ 1\]"):
        gae(transitions, values[:, 1:], decay=1.0)
    with pytest.raises(ValueError, match=r"want 0 to 11 of 12 frames. Received: 12"):
        delayed(transitions, delay=12)

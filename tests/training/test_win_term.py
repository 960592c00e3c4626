"""Win probability: the head's symmetry, its loss against numpy, and learning beside a policy."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_imitation
from tiny_imitation import make_batch

from exphil_tf.features.packing import LAYOUT
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.run_config import OptimizerConfig
from exphil_tf.training.updater import Updater
from exphil_tf.training.value_learner import ValueBesideImitation
from exphil_tf.training.win_term import BINS, WinTerm
from models.heads.win import WinHead
from models.policy_inputs import policy_inputs


def batches(count: int, time: int = 6):
    """Games in which the player with more stocks won; one unroll's outcome is not known."""
    found = []
    for seed in range(count):
        batch, rng = make_batch(seed, time=time), np.random.default_rng(seed)
        state, slot = batch["state"].numpy(), LAYOUT.slots["p.stock"]
        stock = rng.permuted(np.tile(np.array([1, 3], np.uint8), (4, 1)), axis=1)
        state[..., slot.offset : slot.stop] = stock[:, None]
        won = (stock[:, 0] > stock[:, 1]).astype(np.int32)
        won[0] = -1
        facts = {"state": tf.constant(state), "won": tf.constant(won)}
        found.append(batch | facts | {"weight": tf.ones((4, time))})
    return found


def inputs_of(batch):
    return policy_inputs(batch, tiny_imitation.make(jit=False).policy.config.head.codec)


def test_from_the_other_side_it_is_what_is_missing_to_1():
    head, rng = WinHead(), np.random.default_rng(0)
    columns = {
        "p.stock": rng.integers(0, 5, (40, 2)),
        "p.percent": rng.uniform(0, 200, (40, 2)).astype(np.float32),
    }
    assert not np.asarray(head(columns)).any(), "even, before anything is learnt"
    head.score.assign(rng.normal(size=7))
    logits = np.asarray(head(columns))
    other = np.asarray(head({name: value[:, ::-1] for name, value in columns.items()}))
    np.testing.assert_allclose(logits, -other, atol=1e-4)
    assert logits.std() > 1
    # By hand: 2 stocks at 50 % against the last at 120 %.
    score = 10.0 * np.asarray(head.score)
    want = score[1] + 0.5 * score[4] + 0.25 * score[5]
    want -= score[0] + 1.2 * score[4] + 1.44 * score[5] + 1.2 * score[6]
    got = head({"p.stock": np.array([2, 1]), "p.percent": np.array([50.0, 120.0])})
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_loss_and_calibration_error_are_those_of_numpy():
    head = WinHead()
    head.score.assign(np.random.default_rng(1).normal(size=7) * 0.05)
    term, (batch,) = WinTerm(head), batches(1)
    inputs = inputs_of(batch)
    sums = {name: np.asarray(v) for name, v in term.learn(batch, None, inputs).sums.items()}
    assert {name: value.shape for name, value in sums.items()} == dict(term.sum_shapes)
    chance = 1 / (1 + np.exp(-np.asarray(head(inputs.columns), np.float64)[1:]))
    won = np.asarray(batch["won"])[1:, None] * np.ones_like(chance)
    values = term.means(sums, 0.0)
    nats = -np.mean(won * np.log(chance) + (1 - won) * np.log(1 - chance))
    np.testing.assert_allclose(values["win_loss"], nats, rtol=1e-5)
    np.testing.assert_allclose(values["win_brier"], np.mean((chance - won) ** 2), rtol=1e-5)
    error = 0.0
    for place in range(BINS):
        here = (chance >= place / BINS) & (chance < (place + 1) / BINS)
        if here.any():
            error += here.mean() * abs(chance[here].mean() - won[here].mean())
    assert error > 0.05
    np.testing.assert_allclose(values["win_calibration_error"], error, rtol=1e-4)


def test_games_without_a_winner_teach_nothing():
    term, (batch,) = WinTerm(WinHead()), batches(1)
    batch = batch | {"won": tf.constant([-1] * 4)}
    learnt = term.learn(batch, None, inputs_of(batch))
    assert float(learnt.weight) == float(learnt.loss) == 0
    assert term.means({n: np.asarray(v) for n, v in learnt.sums.items()}, 0.0) == {}


@pytest.mark.parametrize("ema", [False, True])
def test_it_is_learnt_beside_a_policy_that_does_not_notice(ema):
    alone = tiny_imitation.make(jit=False, dropout=0.3, ema=ema)
    imitation = tiny_imitation.make(jit=False, dropout=0.3, ema=ema)
    term, config = WinTerm(WinHead()), OptimizerConfig(ema=ema)
    own = term.trainable_variables
    both = ValueBesideImitation(
        imitation, term, Updater(own, build_optimizer(config, 0.05, own), config)
    )
    alone.update(iter(batches(1)), step=0)
    both.update(iter(batches(1)), step=0)
    for one, two in zip(alone.policy.variables, both.policy.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=one.path)
    for step in range(1, 8):
        both.update(iter(batches(1)), step=step)
    assert both.take_report().values["win_loss"] < 0.69
    assert {"win/0", "win_totals/win_weight"} <= {
        *both.variables().training,
        *both.variables().counters,
    }
    values = both.validate(batches(2))
    assert 0 < values["win_brier"] < 0.25

"""Predicted gains by desired return, of a policy whose answers are known."""

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.evaluation import return_response
from exphil_tf.evaluation.results import ReturnMetrics, correlation_of
from exphil_tf.features.packing import LAYOUT, ROW_BYTES
from models.backbones import backbone_config
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

TIME, DELAY = 200, 3
HIT = 100
"""Frame whose transition deals 12 percent."""


def make_batch():
    """Two rows; in the first the opponent is hit once."""
    state = np.zeros((2, TIME, ROW_BYTES), np.uint8)
    frame = np.arange(TIME, dtype="<i4")
    percent = np.zeros((2, TIME, 2), "<f4")
    percent[0, HIT + 1 :, 1] = 12
    stock = np.full((2, TIME, 2), 4, np.uint8)
    for name, values in (
        ("frame", np.tile(frame, (2, 1))[..., None]),
        ("p.percent", percent),
        ("p.stock", stock),
    ):
        slot = LAYOUT.slots[name]
        data = values.astype(slot.dtype).view(np.uint8)
        state[..., slot.offset : slot.stop] = data.reshape(2, TIME, -1)
    weight = np.ones((2, TIME), np.float32)
    weight[:, :10] = 0
    return {
        "state": tf.constant(state),
        "weight": tf.constant(weight),
        "delay": tf.fill([2], DELAY),
    }


def policy():
    embedding = EmbeddingConfig(action_dim=4, character_dim=2, condition_on_return=True)
    return Policy(
        PolicyConfig(embedding, backbone_config(backbone="mlp", hidden=(4,)), HeadConfig())
    )


def measured(monkeypatch, log_prob):
    """Figures of a policy with these log-probabilities, `log_prob(level) [2, TIME]`."""
    monkeypatch.setattr(
        return_response,
        "_log_prob_fn",
        lambda policy, jit: lambda batch, level: tf.constant(log_prob(int(level)), tf.float32),
    )
    return return_response.measure_returns([make_batch()], policy())


def test_a_policy_that_is_told_nothing_gives_what_happened(monkeypatch):
    found = measured(monkeypatch, lambda level: np.zeros((2, TIME)))
    # States 10 … 136 count in both rows; inputs of 38 … 97 take effect within a second of the hit.
    counted = 2 * (TIME - 60 - DELAY - 10)
    for one in found:
        assert one.frames == counted
        assert one.damage == pytest.approx(12 * 60 / counted)
        assert one.effective_share == pytest.approx(1)
        assert one.error is None
    gained = 12 * sum(0.5 ** (k / 30) for k in range(60))
    assert found[0].returns == pytest.approx(gained / counted, rel=1e-5)


def test_frames_are_weighted_by_the_ratio_of_probabilities(monkeypatch):
    """Before the hit, inputs are twice as likely at level 2 and half as likely at level 1."""
    monkeypatch.setattr(return_response, "INPUTS", 1)
    before = np.zeros((2, TIME))
    before[0, HIT - DELAY - 59 : HIT - DELAY + 1] = np.log(2)
    sign = {1: -1, 2: 1}
    found = measured(monkeypatch, lambda level: sign.get(level, 0) * before - 3)
    counted = 2 * (TIME - 60 - DELAY - 10)
    assert found[2].damage == pytest.approx(12 * 120 / (counted + 60))
    assert found[1].damage == pytest.approx(12 * 30 / (counted - 30))
    assert found[3].damage == found[0].damage
    weights, squares = counted + 60, counted - 60 + 60 * 4
    assert found[2].effective_share == pytest.approx(weights**2 / squares / counted)


def test_a_frame_counts_by_all_inputs_of_half_a_second_and_is_cut(monkeypatch):
    """One input twice as likely: 30 frames have it ahead; two of them: those count four times."""
    odd = np.zeros((2, TIME))
    odd[0, HIT - DELAY] = np.log(2)
    sign = {1: 1, 2: 5, 3: -1}
    found = measured(monkeypatch, lambda level: sign.get(level, 0) * odd)
    counted = 2 * (TIME - 60 - DELAY - 10)
    for level, weight in ((1, 2), (2, 4), (3, 0.5)):  # the second would be 32
        want = 12 * (30 + 30 * weight) / (counted + 30 * (weight - 1))
        assert found[level].damage == pytest.approx(want)


def test_rank_correlation():
    def levels(*returns):
        return [ReturnMetrics(n, "", 9, 0.0, found, None, 1.0) for n, found in enumerate(returns)]

    assert correlation_of(levels(9.0, 1.0, 2.0, 3.0, 4.0, 5.0)) == pytest.approx(1.0)
    assert correlation_of(levels(0.0, 5.0, 4.0, 3.0, 2.0, 1.0)) == pytest.approx(-1.0)
    # 1 - 6 * (1 + 1) / (5 * 24).
    assert correlation_of(levels(0.0, 1.0, 3.0, 2.0, 4.0, 5.0)) == pytest.approx(0.9)
    assert correlation_of(levels(0.0, 1.0, 2.0)) is None


def test_what_has_no_returns_or_no_second_is_refused():
    plain = Policy(PolicyConfig(backbone=backbone_config(backbone="mlp", hidden=(4,))))
    with pytest.raises(ValueError, match="condition_on_return"):
        return_response.measure_returns([], plain)
    with pytest.raises(ValueError, match="unrolls longer than 60"):
        return_response.measure_returns([], policy())

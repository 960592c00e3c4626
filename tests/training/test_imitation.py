"""The compiled step on a tiny policy: what it learns from, what it leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_imitation import eagerly, make, make_batch, train, weights

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, load_policy, named_weights, save_policy
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.training import losses
from exphil_tf.training.loss_term import LossTerm
from exphil_tf.training.metric import Metric, selecting
from exphil_tf.training.numerics import numerics
from exphil_tf.training.run_config import LossConfig
from exphil_tf.training.state import TrainState
from models.policy_inputs import policy_inputs, unroll


def concatenated(batches):
    return {k: tf.concat([b[k] for b in batches], 0) for k in batches[0]}


def test_inputs_line_up():
    batch = make_batch(0)
    codec = ControllerCodec()
    inputs = policy_inputs(batch, codec)
    actions = batch["actions"].numpy()
    for name, value in codec.encode(actions[:, 1:]).items():
        np.testing.assert_array_equal(inputs.targets[name], value)
    for name, value in codec.decode(codec.encode(actions[:, :-1])).items():
        np.testing.assert_array_equal(inputs.prev_action[name], value)
    # The action before is the target of the frame before.
    np.testing.assert_array_equal(
        inputs.previous["main_x"][:, 1:], inputs.targets["main_x"][:, :-1]
    )


def test_step_learns_and_reports_the_plain_nll():
    learner = make()
    batch = make_batch(0)
    inputs = policy_inputs(batch, learner.policy.config.head.codec)
    terms = losses.nll(unroll(learner.policy, inputs, training=False), inputs.targets)
    weight = batch["weight"].numpy()
    per_frame = sum(np.asarray(t).reshape(4, 5, -1).sum(-1) for t in terms.values())
    expected = (weight * per_frame).sum() / weight.sum()
    assert learner.validate([batch])["nll_total"] == pytest.approx(expected, rel=1e-5)
    train(learner, batch)
    first = learner.take_report()
    assert first.values["nll_total"] == pytest.approx(expected, rel=1e-5)  # dropout is 0
    assert first.frames == weight.sum()
    for _ in range(20):
        train(learner, batch)
    assert learner.take_report().values["nll_total"] < first.values["nll_total"] - 1
    assert not learner.take_report().values


@eagerly()
def test_everything_reported_is_declared_and_one_metric_selects():
    learner = make()
    train(learner, make_batch(0))
    found = {*learner.take_report().values, *learner.validate([make_batch(1)])}
    declared = {metric.name for metric in learner.metrics}
    assert found == declared - {"nll_total_float"}  # of quantized policies only
    assert selecting(learner.metrics).name == "nll_total"


@eagerly()
def test_shaped_loss_leaves_the_reported_nll_alone():
    batch = make_batch(0)
    plain, shaped = make(), make(loss=LossConfig(label_smoothing=0.2, focal_loss=True))
    a, b = (learner.validate([batch]) for learner in (plain, shaped))
    assert a["nll"] == b["nll"]
    assert a["loss"] != b["loss"]


@eagerly()
def test_frames_of_weight_0_change_nothing():
    batch = make_batch(0)
    actions = batch["actions"].numpy()
    # Other targets on the last frame, which has no weight (and is nobody's previous action).
    weight = batch["weight"].numpy()
    weight[:, -1] = 0
    actions[:, -1] = 77
    changed = {**batch, "actions": tf.constant(actions), "weight": tf.constant(weight)}
    one, two = make(), make()
    train(one, {**batch, "weight": tf.constant(weight)})
    train(two, changed)
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(two)[name], err_msg=name)


def test_accumulation_equals_a_large_batch():
    batches = [make_batch(seed) for seed in range(3)]
    large, small = make(), make(accumulation_steps=3)
    for _ in range(3):
        with eagerly():
            train(large, concatenated(batches))
        train(small, *batches)
    a, b = large.take_report().values, small.take_report().values
    assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    assert a["nll_total"] == pytest.approx(b["nll_total"], rel=1e-5)
    for name, value in weights(large).items():
        np.testing.assert_allclose(value, weights(small)[name], atol=2e-5, err_msg=name)


def test_graphs_and_xla_give_the_same_weights():
    with eagerly():
        plain = trained_on_three(make(ema=True))
    for learner in (make(ema=True), make(ema=True, jit=True)):
        found = trained_on_three(learner)
        for name, value in plain.items():
            np.testing.assert_allclose(value, found[name], atol=1e-4, err_msg=name)


def trained_on_three(learner):
    for seed in range(3):
        train(learner, make_batch(seed))
    with learner.updater.averaged():
        return weights(learner)


@eagerly()
def test_dropout_runs_while_training_only():
    learner = make(dropout=0.5)
    batch = make_batch(0)
    measured = [learner.validate([batch]) for _ in range(2)]
    assert measured[0] == measured[1]
    train(learner, batch)
    assert learner.take_report().values["loss"] != measured[0]["loss"]


@eagerly()
def test_averages_are_validated_and_exported(tmp_path):
    averaging, plain = make(ema=True, ema_decay=0.9), make(ema=False)
    for learner in (averaging, plain):
        for seed in range(6):
            train(learner, make_batch(seed))
    raw = weights(averaging)
    for name, value in weights(plain).items():
        np.testing.assert_array_equal(raw[name], value)
    by_averages, by_raw = (x.validate([make_batch(9)])["nll_total"] for x in (averaging, plain))
    assert by_averages != by_raw
    with averaging.updater.averaged():
        averaged = weights(averaging)
        save_policy(tmp_path / "policy", averaging.policy, PolicyInfo(averaging.policy.config))
    loaded = {n: v.numpy() for n, v in named_weights(load_policy(tmp_path / "policy")[0]).items()}
    for name, value in averaged.items():
        np.testing.assert_array_equal(loaded[name], value)
        np.testing.assert_array_equal(weights(averaging)[name], raw[name])
    assert any((loaded[name] != value).any() for name, value in raw.items())


def test_nan_is_skipped_and_counted():
    learner = make(ema=True)
    train(learner, make_batch(0))
    before = weights(learner)
    learner.take_report()
    bad = make_batch(1)
    bad["weight"] = bad["weight"] * np.nan
    for _ in range(3):
        train(learner, bad)
    for name, value in weights(learner).items():
        np.testing.assert_array_equal(value, before[name])
    train(learner, make_batch(1))
    report = learner.take_report()
    assert (report.skipped, report.worst_streak) == (3, 3)
    assert np.isfinite(report.values["grad_norm"])
    train(learner, bad)
    report = learner.take_report()
    assert (report.skipped, report.worst_streak, report.values) == (4, 1, {})


class Offset(LossTerm):
    """Learns one number, the mean of a constant: what a value head is to the step."""

    name = "offset"
    metrics = (Metric("offset_error"),)
    sum_shapes = {"offset_error": ()}

    def __init__(self):
        self.variables = [keras.Variable(np.zeros((), np.float32), name="offset")]

    def add(self, loss, outputs, *, training):
        assert outputs.hidden.shape[:2] == outputs.inputs.weight.shape
        error = tf.square(self.variables[0].value - 3.0) * tf.ones_like(loss)
        return loss + error, {"offset_error": tf.reduce_sum(outputs.inputs.weight * error)}

    def means(self, sums, frames):
        return {"offset_error": float(sums["offset_error"]) / frames}


@eagerly()
def test_a_further_term_learns_its_own_and_leaves_the_policy_alone(tmp_path):
    plain, joined = (
        make(ema=True, max_grad_norm=0),
        make(ema=True, max_grad_norm=0, terms=(Offset(),)),
    )
    for learner in (plain, joined):
        for seed in range(4):
            train(learner, make_batch(seed))
    for name, value in weights(plain).items():
        np.testing.assert_array_equal(value, weights(joined)[name], err_msg=name)
    own = joined.variables()
    assert set(own.weights) == set(plain.variables().weights)
    learnt = float(own.training["offset/0"].numpy())
    assert 0 < learnt < 3
    by_average = joined.validate([make_batch(0)])["offset_error"]  # averages lag behind
    assert (3 - learnt) ** 2 < by_average < 9
    assert 0 < joined.take_report().values["offset_error"] < 9
    TrainState(own).write(tmp_path)
    resumed = make(ema=True, max_grad_norm=0, terms=(Offset(),))
    TrainState(resumed.variables()).read(tmp_path)
    assert float(resumed.variables().training["offset/0"].numpy()) == learnt


@eagerly()
def test_state_restores_everything(tmp_path):
    def trained(learner, seeds):
        for seed in seeds:
            train(learner, make_batch(seed))
        return TrainState(learner.variables())

    kwargs = {"ema": True, "dropout": 0.3, "optimizer": "adamw"}
    straight = trained(make(**kwargs), range(6))
    half = trained(make(**kwargs), range(3))
    half.write(tmp_path)
    resumed = make(**kwargs)
    state = TrainState(resumed.variables())
    assert state.sha256() != half.sha256()
    state.read(tmp_path)
    assert state.sha256() == half.sha256()
    trained(resumed, range(3, 6))
    assert state.sha256() == straight.sha256()
    assert state.weights_sha256() == straight.weights_sha256() != half.weights_sha256()
    other = TrainState(make(accumulation_steps=2).variables())
    with pytest.raises(ValueError, match="another configuration"):
        other.read(tmp_path)


def test_bf16_keeps_weights_and_losses_in_f32():
    with numerics(seed=0, precision="bf16", is_deterministic=False):
        learner = make(ema=True)
        for _ in range(5):
            train(learner, make_batch(0))
    assert keras.config.dtype_policy().name == "float32"
    assert {v.dtype for v in learner.policy.trainable_variables} == {"float32"}
    assert {v.dtype for v in learner.updater.optimizer.variables} - {"int64"} == {"float32"}
    assert learner.updater.averages()
    assert {average.dtype.name for _, average in learner.updater.averages()} == {"float32"}
    assert learner.policy.backbone.compute_dtype == "bfloat16"
    report = learner.take_report()
    assert np.isfinite(report.values["nll_total"])
    assert report.skipped == 0

"""The compiled step on a tiny policy: what it learns from, what it leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_imitation import make, make_batch, weights

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, load_policy, named_weights, save_policy
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.training import losses
from exphil_tf.training.policy_inputs import policy_inputs, unroll
from exphil_tf.training.run_config import LossConfig
from exphil_tf.training.state import Position, TrainState


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
    trainer = make()
    batch = make_batch(0)
    inputs = policy_inputs(batch, trainer.policy.config.head.codec)
    terms = losses.nll(unroll(trainer.policy, inputs, training=False), inputs.targets)
    weight = batch["weight"].numpy()
    per_frame = sum(np.asarray(t).reshape(4, 5, -1).sum(-1) for t in terms.values())
    expected = (weight * per_frame).sum() / weight.sum()
    trainer.validate(batch)
    validated = trainer.take_validation()
    assert validated is not None
    assert validated.total == pytest.approx(expected, rel=1e-5)
    trainer.train(batch)
    first = trainer.take_totals()
    assert first is not None
    assert first.total == pytest.approx(expected, rel=1e-5)  # dropout is 0
    assert first.frames == weight.sum()
    for _ in range(20):
        trainer.train(batch)
    last = trainer.take_totals()
    assert last is not None
    assert last.total < first.total - 1
    assert trainer.take_totals() is None


def test_shaped_loss_leaves_the_reported_nll_alone():
    batch = make_batch(0)
    plain, shaped = make(), make(loss=LossConfig(label_smoothing=0.2, focal_loss=True))
    for trainer in (plain, shaped):
        trainer.validate(batch)
    a, b = plain.take_validation(), shaped.take_validation()
    assert a is not None
    assert b is not None
    assert a.nll == b.nll
    assert a.loss != b.loss


def test_frames_of_weight_0_change_nothing():
    batch = make_batch(0)
    actions = batch["actions"].numpy()
    # Other targets on the last frame, which has no weight (and is nobody's previous action).
    weight = batch["weight"].numpy()
    weight[:, -1] = 0
    actions[:, -1] = 77
    changed = {**batch, "actions": tf.constant(actions), "weight": tf.constant(weight)}
    one, two = make(), make()
    one.train({**batch, "weight": tf.constant(weight)})
    two.train(changed)
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(two)[name], err_msg=name)


def test_accumulation_equals_a_large_batch():
    batches = [make_batch(seed) for seed in range(3)]
    large, small = make(), make(accumulation_steps=3)
    for _ in range(3):
        large.train(concatenated(batches))
        for i, batch in enumerate(batches):
            small.train(batch, is_last=i == 2)
    assert large.grad_norm() == pytest.approx(small.grad_norm(), rel=1e-4)
    for name, value in weights(large).items():
        np.testing.assert_allclose(value, weights(small)[name], atol=2e-5, err_msg=name)
    a, b = large.take_totals(), small.take_totals()
    assert a is not None
    assert b is not None
    assert a.total == pytest.approx(b.total, rel=1e-5)


def test_xla_gives_the_same_weights():
    plain, compiled = make(ema=True), make(ema=True, jit=True)
    for trainer in (plain, compiled):
        for seed in range(3):
            trainer.train(make_batch(seed))
    for name, value in weights(plain).items():
        np.testing.assert_allclose(value, weights(compiled)[name], atol=1e-4, err_msg=name)


def test_dropout_runs_while_training_only():
    trainer = make(dropout=0.5)
    batch = make_batch(0)
    measured = []
    for _ in range(2):
        trainer.validate(batch)
        measured.append(trainer.take_validation())
    assert measured[0] == measured[1]
    trainer.train(batch)
    assert trainer.take_totals().loss != measured[0].loss  # type: ignore[union-attr]


def test_averages_are_validated_and_exported(tmp_path):
    trainer = make(ema=True, ema_decay=0.9)
    for seed in range(6):
        trainer.train(make_batch(seed))
    raw = weights(trainer)
    trainer.validate(make_batch(9))
    with_raw = trainer.take_validation()
    with trainer.updater.averaged():
        averaged = weights(trainer)
        trainer.validate(make_batch(9))
        save_policy(tmp_path / "policy", trainer.policy, PolicyInfo(trainer.policy.config))
    with_averages = trainer.take_validation()
    assert with_raw is not None
    assert with_averages is not None
    assert with_raw.total != with_averages.total
    loaded = {n: v.numpy() for n, v in named_weights(load_policy(tmp_path / "policy")[0]).items()}
    for name, value in averaged.items():
        np.testing.assert_array_equal(loaded[name], value)
    assert any((loaded[name] != value).any() for name, value in raw.items())


def test_nan_is_skipped_and_counted():
    trainer = make(ema=True)
    trainer.train(make_batch(0))
    before = weights(trainer)
    trainer.take_totals()
    bad = make_batch(1)
    bad["weight"] = bad["weight"] * np.nan
    for _ in range(3):
        trainer.train(bad)
    assert trainer.skipped() == 3
    assert trainer.take_totals() is None
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, before[name])
    trainer.train(make_batch(1))
    assert trainer.take_worst_streak() == 3
    assert trainer.take_worst_streak() == 0
    assert np.isfinite(trainer.grad_norm())


def test_state_restores_everything(tmp_path):
    def trained(trainer, seeds):
        for seed in seeds:
            trainer.train(make_batch(seed))
        return TrainState(trainer.state())

    kwargs = {"ema": True, "dropout": 0.3, "optimizer": "adamw"}
    straight = trained(make(**kwargs), range(6))
    half = trained(make(**kwargs), range(3))
    half.write(tmp_path)
    resumed = make(**kwargs)
    state = TrainState(resumed.state())
    assert state.sha256() != half.sha256()
    state.read(tmp_path)
    assert state.sha256() == half.sha256()
    trained(resumed, range(3, 6))
    assert state.sha256() == straight.sha256()
    other = TrainState(make(accumulation_steps=2).state())
    with pytest.raises(ValueError, match="another configuration"):
        other.read(tmp_path)


def test_position_survives_json():
    position = Position(step=3, frames=0.1, rollbacks=1)
    assert Position.from_dict(position.to_dict()) == position


def test_bf16_keeps_weights_and_losses_in_f32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        trainer = make()
        for _ in range(5):
            trainer.train(make_batch(0))
    finally:
        keras.config.set_dtype_policy(before)
    assert {v.dtype for v in trainer.policy.trainable_variables} == {"float32"}
    assert trainer.policy.backbone.compute_dtype == "bfloat16"
    measured = trainer.take_totals()
    assert measured is not None
    assert np.isfinite(measured.total)
    assert trainer.skipped() == 0

"""Quantization-aware training: where ranges come from, when they stop, and what a run keeps."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_imitation import FLAT, eagerly, learner_of, make_batch, train, weights

from exphil_tf.checkpoints.policy_bundle import (
    PolicyInfo,
    load_policy,
    named_weights,
    requantized,
    save_policy,
    start_from,
)
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.calibration import calibrate
from exphil_tf.training.imitation import ImitationLearner, StepOptions
from exphil_tf.training.run_config import LossConfig
from models.backbones import backbone_config
from models.layers.backend import ops
from models.layers.quantized import WIDER, activation_quantizers, ranges
from models.policy import Policy
from models.policy_config import (
    EmbeddingConfig,
    HeadConfig,
    PolicyConfig,
    QuantizationConfig,
)
from models.policy_inputs import policy_inputs, unroll

QAT = QuantizationConfig(qat=True, qat_activations="moving_average")


def tiny(quantization=QAT, *, hidden=8, seed=1) -> Policy:
    config = PolicyConfig(
        EmbeddingConfig(action_dim=4, character_dim=2),
        backbone_config("lstm", hidden=(hidden,), num_layers=1, dropout=0.0),
        HeadConfig(head_hidden=4),
        quantization,
    )
    return Policy(config, seed=seed, name="policy")


def make(policy: Policy, freeze_step=None) -> ImitationLearner:
    options = StepOptions(LossConfig(), FLAT, jit=False, freeze_step=freeze_step)
    return learner_of(policy, options, ema=False)


def bounds(policy: Policy) -> np.ndarray:
    found = activation_quantizers(policy)
    return np.array([(float(q.low.value), float(q.high.value)) for q in found])


def logits(policy: Policy, batch) -> np.ndarray:
    found = unroll(policy, policy_inputs(batch, policy.config.head.codec), training=False)
    return np.concatenate([np.asarray(v) for v in found.values()], axis=-1)


def test_calibration_finds_the_extremes():
    policy = tiny()
    batches = [make_batch(seed) for seed in range(3)]
    frames = calibrate(policy, batches)
    assert frames == sum(np.count_nonzero(b["weight"]) for b in batches)
    # What the LSTM's input projection reads is the embedding after a LayerNorm.
    seen = []
    for batch in batches:
        inputs = policy_inputs(batch, policy.config.head.codec)
        controller = policy.embedding.join_controller(inputs.prev_action)
        x = policy.embed(*policy.embedding.inputs.join(inputs.columns, ops), controller)
        seen.append(np.asarray(policy.backbone.norm(x)))
    quantizer = policy.backbone.cells[0].input_proj.input_quantizer
    assert float(quantizer.low.value) == pytest.approx(min(x.min() for x in seen), rel=1e-5)
    assert float(quantizer.high.value) == pytest.approx(
        WIDER * max(x.max() for x in seen), rel=1e-5
    )
    # A calibration forgets the one before.
    calibrate(policy, batches[:1])
    assert float(quantizer.high.value) == pytest.approx(WIDER * seen[0].max(), rel=1e-5)


def test_calibration_on_nothing_is_refused():
    with pytest.raises(UserError, match="no finite activation ranges"):
        calibrate(tiny(), [])
    broken = tiny()
    gamma = named_weights(broken)["backbone/norm/gamma"]
    gamma.assign(gamma.value * float("nan"))
    with pytest.raises(UserError, match="no finite activation ranges"):
        calibrate(broken, [make_batch(0)])


@eagerly()
def test_ranges_follow_training_until_they_are_frozen():
    policy = tiny()
    calibrate(policy, [make_batch(0)])
    learner = make(policy, freeze_step=5)
    first = bounds(policy)
    train(learner, make_batch(1), step=4)
    second = bounds(policy)
    assert (first != second).any()
    before = weights(learner)
    for step in (5, 6):
        train(learner, make_batch(step), step=step)
    np.testing.assert_array_equal(bounds(policy), second)
    assert any((before[name] != value).any() for name, value in weights(learner).items())
    learner.validate([make_batch(3)])
    np.testing.assert_array_equal(bounds(policy), second)


@eagerly()
def test_a_batch_that_is_left_out_moves_no_range():
    policy = tiny()
    calibrate(policy, [make_batch(0)])
    learner = make(policy)
    before = bounds(policy)
    batch = make_batch(1)
    train(learner, batch | {"weight": batch["weight"] * float("nan")})
    assert learner.take_report().skipped == 1
    np.testing.assert_array_equal(bounds(policy), before)


def test_training_learns_and_reports_both_likelihoods():
    policy = tiny()
    batch = make_batch(0)
    calibrate(policy, [batch])
    learner = make(policy)
    for _ in range(30):
        train(learner, batch)
    values = learner.validate([batch])
    rounded, unrounded = values["nll_total"], values["nll_total_float"]
    assert rounded < learner.take_report().values["nll_total"]
    # Apart by what the ranges, which follow slowly, clip of weights that were random just now.
    assert rounded == pytest.approx(unrounded, rel=0.2)
    assert rounded != unrounded
    # The second is the likelihood of the same weights in a float network.
    plain = make(requantized(policy, QuantizationConfig())).validate([batch])
    assert plain["nll_total"] == pytest.approx(unrounded, rel=1e-6)
    assert "nll_total_float" not in plain


def test_weights_move_between_float_and_quantized():
    policy = tiny()
    calibrate(policy, [make_batch(0)])
    plain = requantized(policy, QuantizationConfig())
    with ranges("off"):
        np.testing.assert_array_equal(logits(policy, make_batch(1)), logits(plain, make_batch(1)))
    assert (bounds(requantized(plain, QAT)) == [-6.0, 6.0]).all()
    same = requantized(policy, QAT)
    np.testing.assert_array_equal(bounds(same), bounds(policy))
    np.testing.assert_array_equal(logits(policy, make_batch(1)), logits(same, make_batch(1)))


def test_a_bundle_keeps_ranges(tmp_path):
    policy = tiny()
    calibrate(policy, [make_batch(0)])
    save_policy(tmp_path / "policy", policy, PolicyInfo(policy.config))
    loaded, info = load_policy(tmp_path / "policy")
    assert info.config.quantization == QAT
    np.testing.assert_array_equal(logits(loaded, make_batch(1)), logits(policy, make_batch(1)))


def test_starting_from_another_network_is_refused(tmp_path):
    source = tiny(QuantizationConfig(), seed=5)
    save_policy(tmp_path / "policy", source, PolicyInfo(source.config))
    with pytest.raises(UserError, match=r"backbone.hidden \(\[8\] there, \[9\] here\)"):
        start_from(tiny(hidden=9), tmp_path / "policy")
    target = tiny()
    start_from(target, tmp_path / "policy")
    for name, variable in named_weights(source).items():
        np.testing.assert_array_equal(variable.value, named_weights(target)[name].value)


def events(run_dir, kind):
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


FINE_TUNE = (
    "--name", "tuned", "--qat", "--qat-activations", "moving_average", "--init-from", "runs/run",
    "--max-steps", "12",
)  # fmt: skip


@pytest.fixture(scope="module")
def parent(trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent")
    ended = trainer(folder, "--max-steps", "8")
    assert ended.status == 0, ended.output
    return folder


def tune(trainer, folder, *flags, **faults):
    """Fine-tunes with the parent's options alone, as a user would."""
    common = (*FINE_TUNE, "--seed", "3", "--no-jit", "--save-every-steps", "5")
    return trainer.command(folder, *common, *flags, **faults)


@pytest.fixture(scope="module")
def tuned(trainer, parent):
    ended = tune(trainer, parent)
    assert ended.status == 0, ended.output
    return ended


def test_a_run_is_fine_tuned_with_its_own_options(tuned, parent):
    del tuned
    policy, info = load_policy(parent / "runs/tuned/policy")
    _, before = load_policy(parent / "runs/run/policy")
    assert info.config == dataclasses.replace(before.config, quantization=QAT)
    saved = json.loads((parent / "runs/tuned/config.json").read_text())
    assert saved["config"]["batch_size"] == 4  # inherited
    assert saved["config"]["lr"] == 2e-3  # its own
    assert saved["init_from"]["weights_sha256"]
    measured = events(parent / "runs/tuned", "validation")[-1]
    assert measured["nll_total_float"] == pytest.approx(measured["nll_total"], rel=0.1)
    assert not (bounds(policy) == [-6.0, 6.0]).any()


@pytest.mark.parametrize(
    "killed_at",
    [
        pytest.param(4, id="while observing", marks=pytest.mark.slow),
        pytest.param(9, id="once frozen", marks=pytest.mark.slow),
    ],
)
def test_kill_9_and_resume_gives_the_same_weights(trainer, parent, tuned, killed_at):
    name = f"again{killed_at}"
    assert tune(trainer, parent, "--name", name, kill_at_update=killed_at).status == -9
    ended = tune(trainer, parent, "--name", name, "--resume", "auto")
    assert ended.status == 0, ended.output
    assert ended.sha256 == tuned.sha256


def test_no_run_to_start_from(trainer, tmp_path):
    ended = trainer(tmp_path, "--init-from", "runs/none")
    assert ended.status == 66
    assert "runs/none: no such folder" in ended.output

"""The soft loss by hand, a teacher that never learns, and stored answers that equal asked ones."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from any_backbone import any_backbone
from tiny_imitation import FLAT, eagerly, make, make_batch, train, weights

from exphil_tf import generate_soft_labels
from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo, load_policy, save_policy
from exphil_tf.checkpoints.provenance import manifest_sha256
from exphil_tf.data import input as data_input
from exphil_tf.data.epoch_size import epoch_size
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import from_dict, load_given
from exphil_tf.foundation.errors import UserError
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training import distillation, losses
from exphil_tf.training.distill_config import DistillationConfig, DistillConfig, with_input_of
from exphil_tf.training.run_config import LossConfig
from exphil_tf.training.soft_label_records import SOFT, SoftLabels
from exphil_tf.training.soft_labels import LABELS, check_labels, read_labels
from exphil_tf.training.train_config import TrainConfig
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig
from models.policy_inputs import policy_inputs, unroll

CODEC = HeadConfig().codec
ASKED = DistillationConfig(teacher="t")


def random_logits(seed, *lead):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 2, (*lead, k)).astype(np.float32) for n, k in CODEC.sizes.items()}


def as_tensors(logits):
    return {name: tf.constant(value) for name, value in logits.items()}


def probabilities(logits, temperature):
    """Of every outcome of every component in float64: buttons `[…, 8, 2]`."""
    found = {}
    for name, value in logits.items():
        scaled = value.astype(np.float64) / temperature
        if name == "buttons":
            scaled = np.stack([np.zeros_like(scaled), scaled], -1)
        e = np.exp(scaled - scaled.max(-1, keepdims=True))
        found[name] = e / e.sum(-1, keepdims=True)
    return found


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_divergence_by_hand(temperature):
    teacher, student = random_logits(0, 3, 4), random_logits(1, 3, 4)
    p, q = probabilities(teacher, temperature), probabilities(student, temperature)
    terms = {n: (p[n] * np.log(p[n] / q[n])).sum(-1) for n in COMPONENTS}
    terms["buttons"] = terms["buttons"].sum(-1)
    want = temperature**2 * sum(terms.values())
    found = distillation.divergence(
        as_tensors(teacher), as_tensors(student), temperature=temperature
    )
    np.testing.assert_allclose(found, want, rtol=1e-4)
    same = distillation.divergence(
        as_tensors(teacher), as_tensors(teacher), temperature=temperature
    )
    np.testing.assert_allclose(same, 0, atol=1e-4)


def gradient(teacher, student, temperature):
    variables = {name: tf.Variable(value) for name, value in student.items()}
    sources = {name: tf.Variable(value) for name, value in teacher.items()}
    with tf.GradientTape() as tape:
        loss = distillation.divergence(sources, variables, temperature=temperature)
    own, theirs = (list(v.values()) for v in (variables, sources))
    found = tape.gradient(loss, [*own, *theirs])
    assert found[len(own) :] == [None] * len(theirs)  # a teacher does not learn
    return {name: value.numpy() for name, value in zip(variables, found, strict=False)}


def test_gradient_is_that_of_the_soft_cross_entropy():
    teacher, student = random_logits(0, 2), random_logits(1, 2)
    p, q = probabilities(teacher, 1), probabilities(student, 1)
    for name, found in gradient(teacher, student, 1.0).items():
        want = q[name] - p[name]
        np.testing.assert_allclose(found, want[..., 1] if name == "buttons" else want, atol=1e-5)


def test_hot_gradient_does_not_vanish():
    # In the limit it is the difference of centred logits over their number (Hinton et al., eq. 4).
    teacher, student = random_logits(0, 2), random_logits(1, 2)
    for name, found in gradient(teacher, student, 1000.0).items():
        gap = (student[name] - teacher[name]).astype(np.float64)
        gap = gap / 4 if name == "buttons" else gap - gap.mean(-1, keepdims=True)
        want = gap if name == "buttons" else gap / gap.shape[-1]
        np.testing.assert_allclose(found, want, atol=0.02)


# -- The step --------------------------------------------------------------------------------------


def teacher_of(seed=9, dropout=0.5, backbone="mlp"):
    """A policy with another backbone, another embedding and, in training, dropout."""
    config = PolicyConfig(
        EmbeddingConfig(action_dim=6, character_dim=3, with_prev_action=False),
        any_backbone(backbone, hidden=(12,), dropout=dropout, num_layers=1),
        HeadConfig(head_hidden=3),
    )
    policy = Policy(config, seed=seed, name="policy")
    return distillation.Teacher(policy, PolicyInfo(config), {})


def student_of(teacher, config, **options):
    return make(terms=distillation.distillation_terms(teacher.logits, config), **options)


def test_student_comes_to_answer_as_its_teacher():
    teacher = teacher_of(backbone="mamba")
    before = [v.numpy() for v in teacher.policy.weights]
    asked = dataclasses.replace(ASKED, alpha=1.0, temperature=2.0)
    student = student_of(teacher, asked)
    batch = make_batch(0)
    inputs = policy_inputs(batch, CODEC)
    taught = teacher.logits(batch, inputs)

    def distance():
        own = unroll(student.policy, inputs, training=False)
        apart = distillation.divergence(taught, own, temperature=1.0)
        weight = batch["weight"]
        return float(tf.reduce_sum(weight * apart) / tf.reduce_sum(weight))

    first = distance()
    for _ in range(30):
        train(student, batch)
    assert distance() < first / 2
    for value, variable in zip(before, teacher.policy.weights, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
    again = teacher.logits(batch, inputs)  # dropout is off, though its rate is one half
    np.testing.assert_array_equal(taught["main_x"], again["main_x"])


@eagerly()
def test_loss_is_the_mix_and_the_nll_stays_plain():
    teacher, batch = teacher_of(), make_batch(0)
    asked = dataclasses.replace(ASKED, alpha=0.25, temperature=3.0)
    student = student_of(teacher, asked)
    inputs = policy_inputs(batch, CODEC)
    own = unroll(student.policy, inputs, training=False)
    hard = losses.optimised(own, inputs.targets, config=LossConfig(), pos_weight=FLAT)
    soft = distillation.divergence(teacher.logits(batch, inputs), own, temperature=3.0)
    weight = batch["weight"].numpy()
    mean = [float((weight * v.numpy()).sum() / weight.sum()) for v in (hard, soft)]
    train(student, batch)
    trained, validated = student.take_report().values, student.validate([batch])
    assert trained["loss"] == pytest.approx(0.75 * mean[0] + 0.25 * mean[1], rel=1e-5)
    assert trained["nll_total"] == pytest.approx(mean[0], rel=1e-5)
    assert validated["loss"] == pytest.approx(validated["nll_total"], rel=1e-5)  # nobody teaches


@eagerly()
def test_alpha_0_is_plain_training():
    plain = make(dropout=0.3)
    without = dataclasses.replace(ASKED, alpha=0.0)
    student = student_of(teacher_of(), without, dropout=0.3)
    for learner in (plain, student):
        for seed in range(3):
            train(learner, make_batch(seed))
    for name, value in weights(plain).items():
        np.testing.assert_array_equal(value, weights(student)[name], err_msg=name)


# -- Who may teach whom ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"axis_buckets": 33}, ["its 17 stick buckets", "Received: 33", "--axis-buckets"]),
        ({"shoulder_buckets": 4}, ["its 5 shoulder buckets", "Received: 4"]),
        ({"frame_delay": 3}, ["delays of 0 to 2", "Received: 3 to 3"]),
        ({"online_robust": True}, ["Received: 0 to 18"]),
    ],
)
def test_teacher_that_means_something_else_is_refused(student, words):
    info = dataclasses.replace(teacher_of().info, delay=Delay(0, 0, 2))
    config = from_dict(DistillConfig, student)
    with pytest.raises(UserError) as caught:
        distillation.check_teacher(info, config.input, config.policy().head.codec)
    assert caught.value.exit_code == 78
    for word in words:
        assert word in str(caught.value)
    plain = from_dict(DistillConfig, {"frame_delay": 2, "nana_mode": "full"})
    distillation.check_teacher(info, plain.input, plain.policy().head.codec)


def test_notes_tell_of_other_conditions():
    info = dataclasses.replace(teacher_of(backbone="lstm").info, window_size=80)
    short = from_dict(TrainConfig, {"window_size": 40})
    found = distillation.teacher_notes(info, short.input, manifest_sha256="x")
    assert [text.split()[0] for text in found] == ["window_size", "burn_in"]
    warm = from_dict(TrainConfig, {"window_size": 80, "burn_in": 10})
    assert distillation.teacher_notes(info, warm.input, manifest_sha256="x") == []


# -- Stored answers --------------------------------------------------------------------------------

INPUT = ("--window-size", "30", "--burn-in", "5", "--frame-delay", "1", "--batch-size", "4")


@pytest.fixture(scope="module")
def taught(dataset, tmp_path_factory):
    """A teacher's bundle, and its answers to the small dataset."""
    place = tmp_path_factory.mktemp("taught")
    teacher = teacher_of()
    info = dataclasses.replace(teacher.info, delay=Delay(1, 0, 2))
    save_policy(place / "bundle", teacher.policy, info)
    assert generate(place, dataset) == 0
    return place


def generate(place, dataset, *flags):
    where = ["--teacher", place / "bundle", "--data", dataset, "--output", place / "labels"]
    return generate_soft_labels.main([*map(str, where), *INPUT, "--no-jit", *flags])


def labels_of(place, batch_size=4, seed=3):
    manifest = read_labels(place / "labels")
    config = from_dict(DistillConfig, {"soft_labels": str(place / "labels")})
    asked = with_input_of(config, manifest.input, origin="labels", given={}).input
    return SoftLabels(
        place / "labels", manifest, CODEC, input=asked, batch_size=batch_size, seed=seed
    )


def unrolls(batches, count):
    """Bytes of each unroll's state, controllers, weights and resets."""
    seen = []
    for batch in batches.as_numpy_iterator():
        keys = ("state", "actions", "weight", "is_resetting", "name", "character", "delay")
        seen += list(zip(*([row.tobytes() for row in batch[k]] for k in keys), strict=True))
        if len(seen) >= count:
            return seen[:count]
    return seen


def test_stored_unrolls_are_one_pass_of_the_dataset(dataset, taught):
    labels = labels_of(taught)
    config = labels.input
    assert (config.window_size, config.burn_in, config.frame_delay) == (30, 5, 1)
    count = labels.manifest.unrolls
    size = epoch_size(dataset, config, split="train", batch_size=4, seed=0, training=True)
    assert count == size.unrolls == labels.epoch_size().unrolls > 100
    build = tf.autograph.experimental.do_not_convert(data_input.build)
    plain = build(dataset, config, split="train", batch_size=4, seed=0, training=True)
    # A batch of 1 leaves no rest, so that two rounds are each stored unroll twice.
    stored = unrolls(labels_of(taught, batch_size=1).batches(), 2 * count)
    assert sorted(stored[:count]) == sorted(unrolls(plain, count))
    assert sorted(stored[count:]) == sorted(stored[:count]) != stored[:count]
    again, other = (unrolls(labels_of(taught, 1, seed).batches(), count) for seed in (3, 4))
    assert again == stored[:count] != stored[count:]
    assert sorted(other) == sorted(again) != other


def test_stored_answers_equal_asked_ones(taught):
    labels = labels_of(taught, batch_size=8)
    teacher = distillation.load_teacher(taught / "bundle")
    batch = next(iter(labels.batches()))
    assert batch[SOFT].dtype == tf.float16
    inputs = policy_inputs(batch, CODEC)
    stored, asked = labels.logits(batch, inputs), teacher.logits(batch, inputs)
    own = as_tensors(random_logits(5, 8, 30))
    for temperature in (1.0, 2.0):
        apart = distillation.divergence(asked, stored, temperature=temperature)
        assert float(tf.reduce_max(tf.abs(apart))) < 1e-4
        losses_ = [
            distillation.divergence(which, own, temperature=temperature)
            for which in (stored, asked)
        ]
        np.testing.assert_allclose(*losses_, rtol=1e-3)


def test_finished_labels_are_kept_and_others_not_replaced(dataset, taught, capsys):
    digests = (taught / "labels" / LABELS / atomic.CHECKSUMS).read_bytes()
    assert generate(taught, dataset) == 0
    assert "made of these by this teacher before" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"holds soft labels of another seed\. Choose") as caught:
        generate(taught, dataset, "--seed", "1")
    assert caught.value.exit_code == 73
    assert (taught / "labels" / LABELS / atomic.CHECKSUMS).read_bytes() == digests


def test_two_augmented_passes(dataset, taught, tmp_path):
    (tmp_path / "bundle").symlink_to(taught / "bundle")
    assert generate(tmp_path, dataset, "--passes", "2", "--augment", "--noise-prob", "1") == 0
    one, two = labels_of(taught), labels_of(tmp_path, batch_size=1)
    assert two.manifest.unrolls >= 2 * one.manifest.unrolls - 8  # the grid moves between passes
    assert two.epoch_size().unrolls == round(two.manifest.unrolls / 2)
    assert two.input.augment and two.input.noise_prob == 1
    seen = unrolls(two.batches(), two.manifest.unrolls)
    assert len(set(seen)) == len(seen)


def test_labels_are_whole_or_refused(dataset, taught, tmp_path):
    with pytest.raises(UserError, match="no finished soft labels"):
        read_labels(tmp_path)
    (tmp_path / "bundle").symlink_to(taught / "bundle")
    generate(tmp_path, dataset)
    labels = labels_of(tmp_path)
    shard = tmp_path / "labels" / LABELS / labels.manifest.shards[0]
    whole = shard.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(UserError, match="sha256 differs") as caught:
        read_labels(tmp_path / "labels")
    assert caught.value.exit_code == 65
    # Damage while training reads it names the shard.
    with pytest.raises(UserError, match=shard.name), labels.named_errors():
        unrolls(labels.batches(), 10**4)
    # Running the command again makes them anew, the same ones.
    assert generate(tmp_path, dataset) == 0
    assert shard.read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"manifest_sha256": "0"}, "another dataset"),
        ({"codec": ControllerCodec(axis_buckets=33)}, "the 17 axis_centres"),
        ({"codec": ControllerCodec(shoulder_buckets=4)}, "the 5 shoulder_centres"),
        ({"teacher": {"weights_sha256": "0", "policy_sha256": "0"}}, "another teacher"),
    ],
)
def test_labels_of_something_else_are_refused(dataset, taught, changes, words):
    manifest = labels_of(taught).manifest
    fitting = {
        "manifest_sha256": manifest_sha256(load_manifest(dataset)),
        "codec": CODEC,
        "teacher": distillation.describe_teacher(taught / "bundle"),
    }
    check_labels(manifest, **fitting)
    with pytest.raises(UserError, match=words) as caught:
        check_labels(manifest, **{**fitting, **changes})
    assert caught.value.exit_code == 78


def test_labels_decide_the_input_that_was_left_alone(taught):
    stored = labels_of(taught).manifest.input
    found = informed(stored, "--window-size", "30", "--shuffle-records", "7").input
    assert (found.burn_in, found.shuffle_records) == (5, 7)
    for window in (31, 60):  # its default is as much of a wish as any other
        message = rf"--window-size: labels was made with 30\. Received: {window}"
        with pytest.raises(UserError, match=message):
            informed(stored, "--window-size", str(window))


def informed(stored, *flags):
    loaded = load_given(DistillConfig, flags, env={})
    return with_input_of(loaded.config, stored, origin="labels", given=loaded.given)


# -- The command -----------------------------------------------------------------------------------

SMALL = (
    "--name", "run", "--student-hidden", "8,8", "--head-hidden", "4", "--action-dim", "4",
    "--batch-size", "4", "--max-steps", "8", "--lr", "0.01", "--log-interval", "5", "--seed", "7",
    "--no-jit", "--save-every-steps", "3", "--block-records", "4", "--window-size", "30",
    "--burn-in", "5", "--frame-delay", "1",
)  # fmt: skip


@pytest.fixture
def distil(trainer, dataset):
    def distil(cwd: Path, *flags: str, **faults: int):
        argv = ["--data", str(dataset), *SMALL, *map(str, flags)]
        return trainer.command(cwd, *argv, module="distill", **faults)

    return distil


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_weights(tmp_path, distil, taught):
    labels = ("--soft-labels", taught / "labels")
    straight = distil(tmp_path, *labels, "--name", "straight")
    killed = distil(tmp_path, *labels, kill_at_update=5)
    assert (straight.status, killed.status) == (0, -9), straight.output
    # In another place they are the same labels.
    (tmp_path / "moved").symlink_to(taught / "labels")
    resumed = distil(tmp_path, "--soft-labels", tmp_path / "moved", "--resume", "auto")
    assert resumed.status == 0, resumed.output
    assert resumed.sha256 == straight.sha256


@pytest.mark.slow
def test_only_the_same_lesson_goes_on(tmp_path, distil, taught, trainer, dataset):
    one = ("--max-steps", "1")
    assert distil(tmp_path, "--teacher", taught / "bundle", *one).status == 0
    other = teacher_of(seed=10)
    save_policy(tmp_path / "other", other.policy, load_policy(taught / "bundle")[1])
    ended = distil(tmp_path, "--teacher", tmp_path / "other", *one, "--resume", "auto")
    assert (ended.status, "another distillation" in ended.output) == (78, True), ended.output
    # The train command does not go on with it either, but may start from it.
    where = ("--data", str(dataset))
    ended = trainer.command(tmp_path, "--resume", "runs/run", *where)
    assert (ended.status, "options: teacher" in ended.output) == (78, True), ended.output
    ended = trainer.command(tmp_path, "--init-from", "runs/run", *one, "--name", "tuned", *where)
    assert ended.status == 0, ended.output


@pytest.mark.slow
def test_comparison(tmp_path, distil, taught, trainer, dataset):
    ended = distil(tmp_path, "--teacher", taught / "bundle", "--compare")
    assert ended.status == 0, ended.output
    run = tmp_path / "runs/run"
    found = json.loads((run / "comparison/comparison.json").read_text())["policies"]
    assert list(found) == ["hard-labels", "distilled", "teacher"]
    assert len({policy["nll"] for policy in found.values()}) == 3
    for policy in found.values():
        assert policy["nll"] == pytest.approx(sum(policy["components"].values()))
    # The student is an ordinary run, and says who taught it.
    facts = json.loads((run / "config.json").read_text())
    identity = distillation.describe_teacher(taught / "bundle")
    assert facts["distillation"]["teacher"] == identity
    assert facts["command"][:3] == ["python", "-m", "exphil_tf.distill"]
    policy, info = load_policy(run / "policy")
    assert info.provenance["distillation"] == facts["distillation"]
    assert policy.config.backbone.hidden == (8, 8)
    assert found["distilled"]["parameters"] == policy.num_parameters
    # Without a teacher, it is what the train command makes of the same options.
    flags = [f.replace("--student-hidden", "--hidden") for f in SMALL]
    plain = trainer.command(
        tmp_path, "--data", str(dataset), *flags, "--name", "plain", "--backbone", "mlp"
    )
    hard = json.loads((run / "hard-labels/config.json").read_text())
    assert plain.sha256 == hard["results"]["weights_sha256"] != facts["results"]["weights_sha256"]


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        ((), 2, "--teacher: want the folder of a run"),
        (("--teacher", "nowhere"), 66, "nowhere: no such folder"),
        (("--soft-labels", "nowhere"), 66, "no finished soft labels"),
        (("--teacher", "TEACHER", "--axis-buckets", "33"), 78, "its 17 stick buckets"),
        (("--teacher", "TEACHER", "--alpha", "2"), 2, "alpha: want 0 <= x <= 1"),
        (("--teacher", "TEACHER", "--temperature", "0"), 2, "temperature: want a positive"),
        (("--teacher", "TEACHER", "--alpha", "0", "--compare"), 2, "nobody teaches"),
    ],
)
def test_mistake_gets_a_sentence_and_a_code(tmp_path, distil, taught, flags, code, part):
    words = [str(taught / "bundle") if word == "TEACHER" else word for word in flags]
    ended = distil(tmp_path, *words)
    last = ended.output.splitlines()[-1]
    assert last.startswith("error: ")
    assert (ended.status, part in last) == (code, True), last

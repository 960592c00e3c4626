"""Memory that goes on from batch to batch: as one long unroll, forgotten with a game, resumed."""

import numpy as np
import pytest
import tensorflow as tf
from any_backbone import any_backbone
from tiny_imitation import FLAT, eagerly, inputs_of, learner_of, make_batch, train

from exphil_tf import generate_soft_labels
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.foundation.errors import UserError
from exphil_tf.training import distillation, losses
from exphil_tf.training.distill_config import DistillationConfig
from exphil_tf.training.imitation import StepOptions
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.run_config import LossConfig, OptimizerConfig
from exphil_tf.training.updater import Updater
from exphil_tf.training.value_config import ValueConfig
from exphil_tf.training.value_learner import ValueBesideImitation
from exphil_tf.training.value_term import make_value_term
from models.carried_state import CarriedState
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig
from models.policy_inputs import policy_inputs, unroll, unroll_hidden

ROWS, TIME = 4, 12
HALF = TIME // 2
BACKBONES = ("lstm", "mamba", "sliding_window")


def policy_of(backbone, seed=1):
    config = PolicyConfig(
        EmbeddingConfig(action_dim=4, character_dim=2),
        any_backbone(backbone, hidden=(8,), num_layers=1, dropout=0.0).for_unroll(HALF),
        HeadConfig(head_hidden=4),
    )
    return Policy(config, seed=seed, name="policy")


def learner(backbone="lstm", *, rows=ROWS, terms=(), **options):
    step = StepOptions(LossConfig(), FLAT, False, terms=terms, carried_rows=rows)
    return learner_of(policy_of(backbone), step, **options)


def halves(whole, begins=(False, False)):
    """Two unrolls that follow one another, and which of them begin a game."""
    found = []
    for number, begin in enumerate(begins):
        time = slice(number * HALF, (number + 1) * HALF)
        part = {k: v[:, time] for k, v in whole.items() if k not in ("actions", "name")}
        part["actions"] = whole["actions"][:, time.start : time.stop + 1]
        part["is_resetting"] = tf.constant(np.arange(HALF)[None] == 0) & tf.fill([ROWS, 1], begin)
        found.append({**part, "name": whole["name"]})
    return found


@pytest.mark.parametrize("backbone", BACKBONES)
def test_unrolls_that_follow_one_another_equal_a_long_one(backbone):
    whole = make_batch(0, ROWS, TIME)
    want = learner(backbone, rows=0).validate([whole])["nll"]
    assert learner(backbone).validate(halves(whole))["nll"] == pytest.approx(want, rel=1e-5)
    apart = learner(backbone, rows=0).validate(halves(whole))["nll"]
    assert apart != pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@eagerly()
def test_a_game_begins_without_the_memory_of_the_last(backbone):
    first, second = halves(make_batch(0, ROWS, TIME), begins=(True, True))
    other = halves(make_batch(1, ROWS, TIME), begins=(True, True))[0]
    one, two = (learner(backbone) for _ in range(2))
    one.validate([first])
    two.validate([other])
    assert one.validate([second]) == two.validate([second])


@eagerly()
def test_gradients_end_where_an_unroll_begins():
    first, second = halves(make_batch(0, ROWS, TIME))
    one = learner("lstm")
    train(one, first)
    policy = one.policy
    state = tf.nest.map_structure(tf.constant, one.training_state.read())
    inputs = policy_inputs(second, policy.config.head.codec, is_carried=True)
    with tf.GradientTape() as tape:
        hidden, _ = unroll_hidden(policy, inputs, training=True, state=state)
        logits = policy.head.unroll(hidden, inputs.targets)
        terms = losses.nll(logits, inputs.targets)
        frames = sum(tf.reduce_sum(v, -1) if n == "buttons" else v for n, v in terms.items())
        nll = tf.reduce_sum(frames * inputs.weight)
    want = tape.gradient(nll, [v.value for v in policy.trainable_variables])
    found, sums = one.gradients(dict(second))
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert float(sums["loss"]) == pytest.approx(float(nll), rel=1e-5)


def test_games_that_take_turns_keep_their_memories_apart():
    policy = policy_of("sliding_window")
    both = CarriedState(policy, ROWS, turns=2)
    alone = [CarriedState(policy, ROWS) for _ in range(2)]
    for number in range(6):
        own = alone[number % 2]
        clock, (ring,) = both.read()
        np.testing.assert_array_equal(clock, own.read()[0])
        np.testing.assert_array_equal(ring, own.read()[1][0])
        for carried in (both, own):
            carried.write((clock + number + 1, (ring + number,)))
    assert both.read()[0].numpy().tolist() == [1 + 3 + 5] * ROWS


def test_rows_with_nan_start_anew():
    policy = policy_of("sliding_window")
    carried = CarriedState(policy, ROWS)
    clock, (ring,) = carried.read()
    bad = tf.tensor_scatter_nd_update(ring + 1.0, [[2, 0, 0, 0]], [np.nan])
    carried.write((clock + 7, (bad,)))
    clock, (ring,) = carried.read()
    assert clock.numpy().tolist() == [7, 7, 0, 7]
    np.testing.assert_array_equal(ring.numpy()[2], 0)
    np.testing.assert_array_equal(ring.numpy()[3], 1)


def test_memory_is_saved_and_does_not_go_back_with_the_weights():
    known = learner("lstm").variables()
    assert set(known.carried) == {"carried/turn", "carried/lstm_0.h", "carried/lstm_0.c"}
    assert set(known.carried) <= set(known.all()) and not set(known.carried) & set(known.learnt())
    assert not learner("lstm", rows=0).variables().carried


@eagerly()
def test_validation_leaves_the_memory_of_training_alone():
    one = learner("lstm")
    first, second = halves(make_batch(0, ROWS, TIME))
    train(one, first)
    before = remembered(one)
    one.validate([second])
    assert remembered(one) == before


def remembered(learner):
    return [v.numpy().tolist() for v in learner.variables().carried.values()]


@eagerly()
def test_accumulated_batches_follow_one_another():
    whole = make_batch(0, ROWS, TIME)
    one, two = learner("lstm", accumulation_steps=2), learner("lstm", rows=0)
    train(one, *halves(whole))
    _, state = unroll_hidden(two.policy, inputs_of(two.policy, whole), training=True)
    want = tf.nest.flatten(state)
    for a, b in zip(tf.nest.flatten(one.training_state.read()), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", ["lstm", "sliding_window"])
def test_a_teacher_remembers_what_came_before(backbone):
    whole = make_batch(0, ROWS, TIME)
    policy = policy_of(backbone, seed=3)
    teacher = distillation.Teacher(
        policy, PolicyInfo(policy.config), {}, CarriedState(policy, ROWS)
    )
    codec = policy.config.head.codec
    parts = [
        teacher.logits(half, policy_inputs(half, codec, is_carried=True)) for half in halves(whole)
    ]
    want = unroll(policy, policy_inputs(whole, codec), training=False)
    for name, logits in want.items():
        found = tf.concat([part[name] for part in parts], 1)
        np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    (term,) = distillation.distillation_terms(
        teacher.logits, DistillationConfig(), carried=teacher.carried.variables
    )
    saved = learner("lstm", terms=(term,)).variables().carried
    assert len(saved) == 4 + len(tf.nest.flatten(policy.initial_state(1)))


def test_values_beside_imitation_read_its_memory():
    whole = make_batch(0, ROWS, TIME)
    results = []
    for batches, rows in ((halves(whole), ROWS), ([whole], 0)):
        imitation = learner("lstm", rows=rows)
        term = make_value_term(ValueConfig(value_head=True), imitation.policy, seed=0)
        config = OptimizerConfig()
        updater = Updater(
            term.trainable_variables,
            build_optimizer(config, 0.01, term.trainable_variables),
            config,
        )
        seen = []
        beside = ValueBesideImitation(imitation, term, updater)
        for batch in batches:
            carried = imitation.validation_state
            seen.append(beside._read(dict(batch), carried)[0])
            imitation._validate(dict(batch))
        results.append(tf.concat(seen, 1))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-5)


CARRIED = ("--backbone", "lstm", "--num-layers", "1", "--carry-state", "--accumulation-steps", "2")


@pytest.mark.slow
def test_a_carried_run_that_is_killed_and_resumed_ends_in_the_same_weights(trainer, tmp_path):
    straight = trainer(tmp_path, *CARRIED, "--name", "straight")
    assert straight.status == 0, straight.output
    assert trainer(tmp_path, *CARRIED, kill_at_update=8).status == -9
    checkpoints = sorted(p.name for p in (tmp_path / "runs/run/checkpoints").iterdir())
    assert checkpoints == ["step-00000005"]
    ended = trainer(tmp_path, *CARRIED, "--resume", "auto")
    assert ended.status == 0, ended.output
    assert ended.sha256 == straight.sha256


def test_soft_labels_are_of_unrolls_by_themselves(tmp_path):
    flags = ("--teacher", "run", "--data", "data", "--output", str(tmp_path), "--carry-state")
    with pytest.raises(UserError, match="--carry-state: soft labels are of unrolls by themselves"):
        generate_soft_labels.main(flags)


def test_nothing_is_carried_without_memory(trainer, tmp_path):
    ended = trainer(tmp_path, "--carry-state")
    assert ended.status == 2
    assert "--carry-state: mlp has no memory" in ended.output

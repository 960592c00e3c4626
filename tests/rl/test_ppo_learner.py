"""Rollouts and the learner of them: the same policy in play and in learning, gates, resuming."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.features.delay import Delay
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.rl import losses
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.rollout import RolloutOptions
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.sim_matches import SimMatches
from exphil_tf.training.state import TrainState
from tests.rl.small_games import Bandit, learn, make, options, tiny_policy

FOX = (Character.FOX, Character.FALCO)


def short_games(*, delay=0, config=None, jit=False, **more):
    """Six short matches: against a script, a frozen policy, and itself."""
    policy = tiny_policy(backbone="lstm", units=8)
    matches = SimMatches(
        [FOX] * 6, [Stage.BATTLEFIELD] * 6, layout=policy.embedding.inputs,
        limit_frames=45, seed=3,
    )  # fmt: skip
    matches.seat_script("aggressor", Seats.of([(0, 1), (1, 0)]))
    frozen = tiny_policy(backbone="lstm", seed=9, units=8)
    info = PolicyInfo(frozen.config, Delay(0, 0, 60))
    others = [Actor(frozen, info, Seats.of([(2, 1), (3, 0)]), delay=0, jit=jit)]
    seats = Seats.of([(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1)])
    config = config or options(jit=jit, rollout=20, minibatches=2, ppo_epochs=1)
    return make(matches, policy, config, delay=delay, others=others, seats=seats, **more)


@pytest.mark.parametrize("delay", [0, 3])
def test_learning_reads_games_as_play_did(delay):
    """Probabilities of unrolls are those that actions were drawn with, over several batches.

    Memory, previous actions, resets and the frames that batches share all show in them.
    """
    rollouts, learner = short_games(delay=delay)
    batches = [next(rollouts) for _ in range(4)]
    assert sum(len(batch.ended["won"]) for batch in batches) >= 8
    assert any(batch.is_resetting[:, 1:].any() for batch in batches)
    for batch in batches:
        frames = {name: getattr(batch, name) for name in ("numbers", "ids", "previous", "buckets")}
        frames |= {"is_resetting": batch.is_resetting, "log_prob": batch.log_prob}
        frames |= {f"memory/{i}": part for i, part in enumerate(batch.memory)}
        read = learner._read({name: tf.constant(value) for name, value in frames.items()})
        np.testing.assert_allclose(read["log_prob"], batch.log_prob, atol=1e-4)
    after, before = batches[1], batches[0]
    assert before.transitions.reward.shape == (8, 20 + delay)
    np.testing.assert_array_equal(after.transitions.reward[:, :delay],
                                  before.transitions.reward[:, 20:])  # fmt: skip
    np.testing.assert_array_equal(after.numbers[:, 0], before.numbers[:, 20])


def test_what_is_pressed_comes_late_by_the_delay_and_never_from_another_game():
    class Watched(Bandit):
        pressed: list = []

        def step(self, controllers):
            self.pressed.append(controllers[:, 0].copy())
            super().step(controllers)

    matches = Watched(4)
    config = options(jit=False, rollout=16, minibatches=1)
    rollouts, _ = make(matches, tiny_policy(), config, delay=3)
    batch = next(rollouts)
    pressed = np.stack(matches.pressed, 1)
    answers = np.concatenate([batch.previous[:, 1:17]], 1)
    # A game has 17 frames, 0 to 16; on its last one nothing is played.
    np.testing.assert_array_equal(pressed[:, :3], np.zeros_like(pressed[:, :3]))
    np.testing.assert_array_equal(pressed[:, 3:16], answers[:, :13])
    np.testing.assert_array_equal(pressed[:, 17:19], np.zeros_like(pressed[:, 17:19]))


def test_an_update_that_moves_too_far_is_taken_back_and_training_goes_on():
    config = options(jit=False, rollout=16, minibatches=1, ppo_epochs=1, max_kl=1e-9)
    rollouts, learner = make(Bandit(4), tiny_policy(), config)
    before = {name: v.numpy() for name, v in learner.variables().learnt().items()}
    first, second = learn(rollouts, learner, 2)
    for name, variable in learner.variables().learnt().items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)
    assert (first.values["reverted"], second.values["reverted"]) == (1, 2)
    assert (first.values["step_scale"], second.values["step_scale"]) == (0.5, 0.25)
    assert first.values["actor_kl"] > second.values["actor_kl"] > 0


def test_what_is_no_number_is_left_out_and_counted():
    rollouts, learner = make(
        Bandit(4), tiny_policy(), options(jit=False, rollout=16, minibatches=2, ppo_epochs=1)
    )
    batch = next(rollouts)
    batch.transitions.reward[0, 3] = np.nan
    before = [v.numpy() for v in learner.policy.variables]
    learner.update(iter([batch]), step=0)
    assert learner.take_report().skipped == 2
    for value, variable in zip(before, learner.policy.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert learn(rollouts, learner, 1)[0].skipped == 2
    assert any(
        (v.numpy() != b).any() for v, b in zip(learner.policy.variables, before, strict=True)
    )


def test_burn_in_teaches_values_alone_and_the_teacher_holds_the_policy():
    config = options(jit=False, rollout=16, minibatches=1, ppo_epochs=1, value_burn_in=1)
    rollouts, learner = make(Bandit(4), tiny_policy(), config, teacher=tiny_policy())
    policy = [v.numpy() for v in learner.policy.variables]
    value = [v.numpy() for v in learner.value.variables]
    burnt_in, learnt = learn(rollouts, learner, 2)
    assert burnt_in.values["kl_teacher"] == pytest.approx(0, abs=1e-6)
    assert burnt_in.values["actor_kl"] == 0 < learnt.values["actor_kl"]
    changed = [(v.numpy() != b).any() for v, b in zip(learner.value.variables, value, strict=True)]
    assert any(changed)
    changed = [
        (v.numpy() != b).any() for v, b in zip(learner.policy.variables, policy, strict=True)
    ]
    assert any(changed)


def test_a_run_that_is_resumed_goes_on_bit_for_bit(tmp_path):
    """Games of all kinds of opponents under way, a delay, a teacher's memory, a generator."""

    def begin():
        config = options(jit=False, rollout=20, minibatches=2, ppo_epochs=1, teacher_kl=0.1)
        teacher = tiny_policy(backbone="lstm", units=8, seed=4)
        rollouts, learner = short_games(delay=2, config=config, teacher=teacher)
        return rollouts, learner, TrainState(learner.variables(), rollouts)

    rollouts, learner, state = begin()
    learn(rollouts, learner, 2)
    state.write(tmp_path)
    wanted = learn(rollouts, learner, 2, first=2)
    digest = state.sha256()
    rollouts, learner, state = begin()
    state.read(tmp_path)
    found = learn(rollouts, learner, 2, first=2)
    assert state.sha256() == digest
    for one, other in zip(wanted, found, strict=True):
        assert one.values["reward_terms"] == other.values["reward_terms"]


def test_losses_are_those_of_the_paper():
    ratio, advantage = np.array([1.5, 1.5, 0.5, 0.5, 1.1]), np.array([2.0, -2.0, 2.0, -2.0, 1.0])
    found = losses.clipped_policy_loss(
        tf.math.log(tf.constant(ratio, tf.float32)), tf.constant(advantage, tf.float32), clip=0.2
    )
    np.testing.assert_allclose(found, [-2.4, 3.0, -1.0, 1.6, -1.1], rtol=1e-5)
    value, before, target = (
        tf.constant(x) for x in ([1.0, 1.0, 0.0], [0.5, 1.0, 0.1], [1.0, 3.0, 0.0])
    )
    # Moved by 0.2 at most from before: 0.7, 1.0, 0.0; the greater error counts.
    found = losses.clipped_value_loss(value, before, target, clip=0.2)
    np.testing.assert_allclose(found, [0.045, 2.0, 0.0], atol=1e-6)
    found = losses.clipped_value_loss(value, before, target, clip=0.0)
    np.testing.assert_allclose(found, [0.0, 2.0, 0.0], atol=1e-6)


def test_staggered_games_end_one_after_another_and_are_whole_from_the_second_on():
    matches = SimMatches(
        [FOX] * 5, [Stage.BATTLEFIELD] * 5, layout=tiny_policy().embedding.inputs,
        limit_frames=20, seed=5, staggered=True,
    )  # fmt: skip
    ended: list[list[int]] = [[] for _ in range(5)]
    for frame in range(1, 61):
        matches.step(np.zeros((5, 2, 13), np.float32))
        over = np.flatnonzero(matches.is_over)
        for match in over:
            ended[match].append(frame)
        matches.reset(over)
    firsts = [frames[0] for frames in ended]
    assert len(set(firsts)) == 5 and max(firsts) <= 20
    assert all(np.diff(frames).tolist() == [20] * (len(frames) - 1) for frames in ended)


def test_the_simulator_plays_alike_after_its_state_was_restored():
    """Rollouts of it, with a game's end in between; matches and inputs to the bit."""
    policy = tiny_policy(backbone="lstm", units=8)

    def begin():
        matches = SimMatches(
            [FOX] * 2, [Stage.YOSHIS_STORY] * 2, layout=policy.embedding.inputs,
            limit_frames=30, seed=5,
        )  # fmt: skip
        config = options(jit=False, rollout=20, minibatches=2)
        return make(matches, policy, config, delay=1, seats=Seats.of([(0, 0), (1, 1)]))[0]

    one, other = begin(), begin()
    batches = [next(one) for _ in range(2)]
    state = one.serialize()
    wanted = next(one)
    assert batches[1].ended["won"].shape == (2,)
    other.deserialize(state)
    found = next(other)
    for name in ("numbers", "ids", "buckets", "log_prob", "is_resetting"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def test_late_weights_hold_from_a_batch_on_whatever_was_restored():
    """Of three batches the last one is paid otherwise, by terms that all of them are told."""

    def begin():
        matches = Bandit(4)
        matches.limit, matches.columns_["p.x"][:, 1] = 99, 60  # one game, apart
        rollouts, _ = make(matches, tiny_policy(), options(jit=False, rollout=8))
        rollouts.options = dataclasses.replace(
            rollouts.options,
            weights={"distance": -0.001},
            late_weights={"distance": -0.003, "stocks": 2.0},
            late_from=2,
        )
        return rollouts

    rollouts = begin()
    early = [next(rollouts) for _ in range(2)]
    state = rollouts.serialize()
    restored = begin()
    restored.deserialize(state)
    for late in (next(rollouts), next(restored)):
        assert set(late.reward_terms) == set(early[0].reward_terms) == {"distance", "stocks"}
        assert early[0].reward_terms["distance"] == early[1].reward_terms["distance"] < 0
        ratio = late.reward_terms["distance"] / early[0].reward_terms["distance"]
        np.testing.assert_allclose(ratio, 3, rtol=1e-6)


def test_no_late_weights_change_nothing():
    paid = RolloutOptions(8, 0.9, {"damage": 0.01}, seed=1)
    assert paid.weights_at(0) == paid.weights_at(10**6) == {"damage": 0.01}

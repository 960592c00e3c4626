"""Feeding a policy its own actions: what is fed when, and what is counted."""

import numpy as np
import pytest

from exphil_tf.evaluation.own_actions import Played, measure_own_actions, play_fn
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.features.transitions import TransitionCounts
from models.policy import Policy
from tests.evaluation.test_measure import make_batch, tiny_policy


def holding(chance: float) -> Policy:
    """A policy that knows nothing but how often a component stays."""
    policy = tiny_policy()
    counts = TransitionCounts(policy.config.head.codec.sizes)
    for pairs in counts.pairs.values():
        size = pairs.shape[-1]
        pairs[...] = 1e9 * (chance * np.eye(size) + (1 - chance) * (1 - np.eye(size)) / (size - 1))
    policy.head.start_at(counts.rates())
    return policy


def long_batch(frames: int):
    """Units of a game cut together: the states don't matter here."""
    parts = [make_batch(seed) for seed in range(frames // 16)]
    batch = {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]
             if parts[0][name].ndim > 1}  # fmt: skip
    batch["actions"] = batch["actions"][:, : frames + 1]
    batch["weight"] = np.ones_like(batch["weight"])
    batch["is_resetting"] = np.arange(frames) == np.zeros((3, 1))
    return batch | {"name": parts[0]["name"]}


def test_the_humans_action_is_fed_until_the_first_counted_frame():
    """Of a policy that always holds: what it holds tells what it was fed."""
    policy, batch = holding(1.0), make_batch(4)
    counted = np.arange(16) >= np.array([[0], [5], [9]])
    batch |= {"weight": counted.astype(np.float32)}
    played = play_fn(policy, jit=False)(batch)
    buckets = policy.config.head.codec.encode(batch["actions"])
    np.testing.assert_array_equal(played.counted, counted)
    first = counted.argmax(1)
    for place, name in enumerate(COMPONENTS[1:], 8):
        before, targets = buckets[name][:, :-1], buckets[name][:, 1:]
        for row, begin in enumerate(first):
            # What the human held before, as its values tell, up to the first counted frame.
            assert (played.human[row, :, place] == targets[row]).all()
            held = played.own[row, begin:, place]
            assert (held == held[0]).all()
            if name == "shoulder":
                assert held[0] == before[row, begin]
                np.testing.assert_array_equal(played.own[row, :begin, place], before[row, :begin])


def test_who_always_holds_is_stuck():
    found = measure_own_actions([long_batch(160)], play_fn(holding(1.0), jit=False), max_frames=1)
    assert found is not None
    assert (found.frames, found.unroll_frames) == (480, 160)
    assert found.policy.changes_per_s == 0
    assert found.policy.held_share == found.policy.stuck_share == 1
    # The batch's human draws every frame anew.
    assert found.human.changes_per_s == 60
    assert found.human.held_share == found.human.stuck_share == 0


def test_changes_are_as_frequent_as_the_policy_says():
    chance = 0.999
    found = measure_own_actions(
        [long_batch(160)] * 4, play_fn(holding(chance), jit=False), max_frames=1600
    )
    assert found is not None
    assert found.frames == 4 * 480
    want = 60 * (1 - chance**13)  # eight buttons and five components
    assert found.policy.changes_per_s == pytest.approx(want, rel=0.6)


def test_figures_by_hand():
    own = np.zeros((2, 200, 13), np.int32)
    own[0, 30:90, 0] = 1  # 30 frames, 60, 110
    own[1, 80:, 3] = 5  # 20 frames that count, then 120
    human = own.copy()
    human[:, :, 12] = np.arange(200)
    counted = np.ones((2, 200), bool)
    counted[1, :60] = False
    batch = {"weight": counted}
    found = measure_own_actions([batch], lambda _: Played(own, human, counted), max_frames=10)
    assert found is not None
    assert found.frames == 340
    assert found.policy.changes_per_s == pytest.approx(60 * 3 / (199 + 139))
    assert found.policy.held_share == pytest.approx((60 + 110 + 120) / 340)
    assert found.policy.stuck_share == pytest.approx(120 / 340)
    assert found.human.changes_per_s == 60
    nobody = Played(own, human, np.zeros_like(counted))
    assert measure_own_actions([batch], lambda _: nobody, max_frames=10) is None

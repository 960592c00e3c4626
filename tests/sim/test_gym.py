"""The adapters keep their libraries' promises, and say what the environment does."""

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
pettingzoo = pytest.importorskip("pettingzoo")

from gymnasium.utils.env_checker import check_env  # noqa: E402
from pettingzoo.test import parallel_api_test, parallel_seed_test  # noqa: E402

from exphil_tf.melee.enums import Stage  # noqa: E402
from exphil_tf.sim.gym import LAYOUT, MeleeParallelEnv, MeleeVectorEnv  # noqa: E402


def test_pettingzoos_own_tests_pass():
    parallel_api_test(MeleeParallelEnv(limit_frames=60), num_cycles=150)
    parallel_seed_test(lambda: MeleeParallelEnv(limit_frames=30), num_cycles=40)


class Single(gymnasium.Env):
    """One environment of a vector, which Gymnasium's checker can look at."""

    def __init__(self):
        self.many = MeleeVectorEnv(1, limit_frames=200)
        self.observation_space = self.many.single_observation_space
        self.action_space = self.many.single_action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        seen, _ = self.many.reset(seed=seed, options=options)
        return {name: value[0] for name, value in seen.items()}, {}

    def step(self, action):
        batch = {name: np.asarray(value)[None] for name, value in action.items()}
        seen, rewards, ended, cut, _ = self.many.step(batch)
        first = {name: value[0] for name, value in seen.items()}
        return first, float(rewards[0]), bool(ended[0]), bool(cut[0]), {}


def test_gymnasiums_own_check_passes():
    check_env(Single(), skip_render_check=True)


def test_a_vector_of_matches_restarts_those_that_ended():
    vector = MeleeVectorEnv(3, limit_frames=50, opponent="script:aggressor", threads=2)
    seen, _ = vector.reset(seed=4)
    assert seen["numbers"].shape == vector.observation_space["numbers"].shape
    vector.action_space.seed(1)
    place, first = LAYOUT.ids["frame"].start, seen["ids"].copy()
    for frame in range(120):
        seen, rewards, ended, cut, infos = vector.step(vector.action_space.sample())
        assert vector.observation_space.contains(seen)
        assert rewards.shape == (3,) and not ended.any()
        assert cut.all() == (frame % 51 == 49) and infos["winner"].shape == (3,)
        if frame % 51 == 50:
            np.testing.assert_array_equal(seen["ids"][:, place], first[:, place])
            assert not rewards.any()


def test_rewards_are_of_stocks_and_damage():
    vector = MeleeVectorEnv(2, opponent="script:stander", stages=[Stage.BATTLEFIELD])
    vector.reset(seed=0)
    players = vector._core.world.players
    vector.step(vector.action_space.sample())
    players["percent"][0, 1] += 30
    players["stock"][1, 0] -= 1
    actions = vector.action_space.sample()
    actions["buttons"][:] = 0
    *_, rewards, _, _, _ = vector.step(actions)
    np.testing.assert_allclose(rewards, [0.3, -1.0], atol=1e-6)
    with pytest.raises(ValueError, match="want script:NAME"):
        MeleeVectorEnv(1, opponent="cpu9")

"""A policy to learn from."""

import pytest

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.features.delay import Delay
from tests.rl.small_games import tiny_policy


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder of a tiny policy with memory."""
    policy = tiny_policy(backbone="lstm", units=8)
    folder = tmp_path_factory.mktemp("run") / "policy"
    save_policy(folder, policy, PolicyInfo(policy.config, Delay(0, 0, 18)))
    return folder

"""Games that must be learnt: each rung asks more of rollouts, returns and losses."""

import pytest

from tests.rl.small_games import Bandit, Catch, learn, make, options, tiny_policy


def recent(reports, name, last=5):
    """Mean of what the last updates earned, in rewards a minute."""
    return sum(report.values[name] for report in reports[-last:]) / last


@pytest.mark.parametrize(
    ("algorithm", "jit"),
    [
        ("ppo", False),
        pytest.param("ppo", True, marks=pytest.mark.slow),
        pytest.param("vtrace", True, marks=pytest.mark.slow),
    ],
)
def test_a_bandit_is_solved(algorithm, jit):
    """Pressing A on all frames and B on none earns 0.1 a frame but for a game's last: 340."""
    shape = {"rollout": 17, "minibatches": 1, "entropy_coef": 0.0}
    config = options(lr=1e-2, jit=jit, algorithm=algorithm, **shape)
    rollouts, learner = make(Bandit(16), tiny_policy(), config)
    reports = learn(rollouts, learner, 25)
    assert reports[0].values["reward"] < 60
    assert recent(reports, "reward") > 300


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 2])
def test_catching_is_learnt_also_with_a_delay(delay):
    """A catch every 12 frames pays 30 a minute, a miss costs as much; chance catches a quarter."""
    config = options(lr=3e-3, rollout=37, minibatches=2, entropy_coef=0.003)
    rollouts, learner = make(Catch(32), tiny_policy(), config, delay=delay, discount=0.97)
    reports = learn(rollouts, learner, 120)
    assert reports[0].values["reward"] < 0
    assert recent(reports, "reward") > (20 if delay == 0 else 12)

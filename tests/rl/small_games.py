"""Games that a few thousand frames teach, on the schema's columns; and learners of them."""

import dataclasses

import numpy as np

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, load_policy, named_weights
from exphil_tf.features.delay import Delay
from exphil_tf.features.schema import SCHEMA
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.ppo_setup import make_learner
from exphil_tf.rl.rollout import RolloutOptions, Rollouts
from exphil_tf.rl.seats import BothSides, Seats
from exphil_tf.training.ppo_config import PlayingConfig
from models.backbones import backbone_config
from models.heads.value import ValueHead
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig


class SmallMatches:
    """What small games share: players 0 learn, players 1 do nothing."""

    limit = 16
    restarts = 0

    def __init__(self, count, seed=0):
        self.count = count
        self.rng = np.random.default_rng(seed)
        self.columns_ = {name: column.copy() for name, column in SCHEMA.zeros(count).items()}
        self.columns_["s.stage"][:] = 32
        self.age = np.zeros(count, np.int64)
        self.reset(np.arange(count))

    @property
    def is_over(self):
        return self.age >= self.limit

    @property
    def is_broken_off(self):
        return np.zeros(self.count, bool)

    def reset(self, which):
        self.age[which] = 0
        for name, value in (("p.stock", 4), ("p.percent", 0), ("p.on_ground", 1), ("p.action", 14)):
            self.columns_[name][which] = value

    def columns(self):
        return self.columns_

    def inputs(self, layout):
        return BothSides(layout).of(self.columns_)

    def step(self, controllers):
        goes_on = ~self.is_over
        self.age += goes_on
        self.columns_["frame"][:] = self.age
        self.play(goes_on, controllers[:, 0])

    def state(self):
        return {}

    def restore(self, state):
        pass

    def close(self):
        pass


class Bandit(SmallMatches):
    """Pressing A hurts the opponent by 10 %; pressing B, oneself."""

    def play(self, goes_on, own):
        percent = self.columns_["p.percent"]
        percent[:, 1] += 10 * own[:, 0] * goes_on
        percent[:, 0] += 10 * own[:, 1] * goes_on


class Catch(SmallMatches):
    """Something falls for 12 frames; who stands within 6 units of it hurts the other by 10 %.

    The main stick moves the player by 4 units a frame. The game tells where it falls as the
    opponent's place, and how high it is as the opponent's height.
    """

    fall = 12
    limit = 36

    def reset(self, which):
        super().reset(which)
        self.columns_["p.x"][which] = 0
        self._drop(which)

    def play(self, goes_on, own):
        x, y = self.columns_["p.x"], self.columns_["p.y"]
        moved = np.clip(x[:, 0] + 4 * np.sign(own[:, 8]) * (np.abs(own[:, 8]) > 0.3), -30, 30)
        x[goes_on, 0] = moved[goes_on]
        y[goes_on, 1] -= 1
        lands = goes_on & (y[:, 1] <= 0)
        caught = np.abs(x[:, 0] - x[:, 1]) <= 6
        self.columns_["p.percent"][lands & caught, 1] += 10
        self.columns_["p.percent"][lands & ~caught, 0] += 10
        self._drop(np.flatnonzero(lands))

    def _drop(self, which):
        self.columns_["p.x"][which, 1] = self.rng.integers(-30, 31, len(which))
        self.columns_["p.y"][which, 1] = self.fall


def tiny_policy(*, backbone="mlp", seed=1, units=32):
    config = PolicyConfig(
        EmbeddingConfig(action_dim=4, character_dim=2, with_projectiles=False),
        backbone_config(backbone=backbone, hidden=(units,), dropout=0.0),
        HeadConfig(head_hidden=16),
    )
    return Policy(config, seed=seed, name="policy")


def first_seats(matches, both=False):
    pairs = [(match, player) for match in range(matches.count) for player in range(1 + both)]
    return Seats.of(pairs)


def options(*, lr=1e-3, jit=True, seed=0, **gradient):
    base = PlayingConfig()
    return dataclasses.replace(
        base,
        schedule=dataclasses.replace(base.schedule, lr=lr),
        gradient=dataclasses.replace(
            base.gradient,
            **{"rollout": 32, "teacher_kl": 0.0, "value_burn_in": 0, "max_kl": 0.0} | gradient,
        ),
        run=dataclasses.replace(base.run, seed=seed, jit=jit),
    )


def make(matches, policy, config, *, delay=0, discount=0.9, others=(), seats=None, teacher=None):
    """Rollouts and the learner of them."""
    info = PolicyInfo(policy.config, Delay(delay, 0, 60))
    jit = config.run.jit
    actor = Actor(policy, info, seats or first_seats(matches), delay=delay, jit=jit)
    rollouts = Rollouts(
        matches,
        actor,
        others=others,
        options=RolloutOptions(
            config.gradient.rollout, discount, config.reward.weights(), config.seed
        ),
    )
    width = policy.backbone.width + policy.num_previous
    value = ValueHead(width, hidden=(32,), stop_gradient=False, seed=0, name="value")
    learner = make_learner(config, policy, value, teacher=teacher, rollouts=rollouts, updates=1000)
    return rollouts, learner


def learn(rollouts, learner, updates, *, first=0):
    """Report of each update."""
    reports = []
    for step in range(first, first + updates):
        learner.update(rollouts, step=step)
        reports.append(learner.take_report())
    return reports


def weights(folder):
    """Of the policy in a folder, by name."""
    return {name: np.asarray(v.value) for name, v in named_weights(load_policy(folder)[0]).items()}

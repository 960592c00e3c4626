"""A tiny policy with its learner, and batches of random bytes for it."""

import contextlib

import numpy as np
import tensorflow as tf
from any_backbone import any_backbone

from exphil_tf.checkpoints.policy_bundle import named_weights
from exphil_tf.features.packing import ACTION_BYTES, LAYOUT, ROW_BYTES
from exphil_tf.training.imitation import ImitationLearner, StepOptions, trainable_variables
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.run_config import LossConfig, OptimizerConfig
from exphil_tf.training.updater import Updater
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig
from models.policy_inputs import policy_inputs

FLAT = np.ones(8, np.float32)


@contextlib.contextmanager
def eagerly():
    """Steps run operation by operation: for a few of them a tenth of what tracing a graph costs.

    `test_imitation` shows that graphs do the same.
    """
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def make_batch(seed, batch=4, time=5):
    rng = np.random.default_rng(seed)
    state = np.zeros((batch, time, ROW_BYTES), np.uint8)
    for name, high in (("p.action", 2), ("p.stock", 5), ("p.character", 20)):
        slot = LAYOUT.slots[name]
        state[..., slot.offset : slot.stop : slot.dtype.itemsize] = rng.integers(
            0, high, (batch, time, slot.count)
        )
    is_resetting = np.zeros((batch, time), bool)
    is_resetting[:, 0] = True
    return {
        "state": tf.constant(state),
        "actions": tf.constant(rng.integers(0, 80, (batch, time + 1, ACTION_BYTES)), tf.uint8),
        "weight": tf.constant(rng.integers(0, 2, (batch, time)), tf.float32),
        "is_resetting": tf.constant(is_resetting),
        "name": tf.zeros(batch, tf.int32),
    }


def make(*, backbone="lstm", jit=False, dropout=0.0, loss=None, terms=(), buckets=True, **options):
    config = PolicyConfig(
        EmbeddingConfig(action_dim=4, character_dim=2),
        any_backbone(backbone, hidden=(8,), num_layers=1, dropout=dropout),
        HeadConfig(head_hidden=4, prev_action_buckets=buckets),
    )
    policy = Policy(config, seed=1, name="policy")
    step = StepOptions(loss or LossConfig(), FLAT, jit, terms=terms)
    return learner_of(policy, step, **options)


def learner_of(policy, step, **options):
    config = OptimizerConfig(**options)
    variables = trainable_variables(policy, step.terms)
    updater = Updater(variables, build_optimizer(config, 0.01, variables), config)
    return ImitationLearner(policy, updater, step)


def train(learner, *batches, step=0):
    """One update on these batches; more than one where gradients are accumulated."""
    learner.update(iter(batches), step=step)


def weights(learner):
    return {name: v.numpy() for name, v in named_weights(learner.policy).items()}


def inputs_of(policy, batch):
    """A batch, unpacked for a policy."""
    return policy_inputs(batch, policy.config.head.codec)

"""Which rule changes which weights."""

import keras
import numpy as np
import pytest
from any_backbone import any_backbone

from exphil_tf.training.optimizers import build_optimizer, turns_orthogonally
from exphil_tf.training.run_config import OptimizerConfig
from models.backbones import BACKBONES
from models.layers.embedding_layout import dense_width
from models.policy import Policy
from models.policy_config import PolicyConfig


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_muon_turns_what_lies_between_hidden_units(name):
    config = PolicyConfig(backbone=any_backbone(name, hidden=(16, 16), num_layers=2))
    policy = Policy(config)
    policy.build()
    matrices = [v for v in policy.trainable_variables if len(v.shape) == 2]
    turned = {v.path.partition("/")[2] for v in matrices if turns_orthogonally(v)}
    features = dense_width(config.embedding)
    readers = [v for v in matrices if v.shape[0] >= features and "backbone" in v.path]
    assert len(readers) == 1
    assert not turns_orthogonally(readers[0])
    assert "head/trunk/kernel" in turned
    assert any(path.startswith("backbone/") for path in turned)
    assert not [path for path in turned if "kernel" not in path or "conv" in path]


def test_muon_moves_along_the_nearest_orthogonal_matrix():
    hidden = keras.Variable(np.zeros((6, 4), np.float32), name="kernel")
    hidden._path = "policy/backbone/lstm_1/recurrent_kernel"
    other = keras.Variable(np.zeros((6, 4), np.float32), name="kernel")
    other._path = "policy/head/output_kernel"
    config = OptimizerConfig(optimizer="muon", weight_decay=0.0)
    optimizer = build_optimizer(config, 0.1, [hidden, other])
    gradient = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)] * 2)
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    moved = -hidden.numpy()
    # Five Newton-Schulz steps leave singular values between 0.7 and 1.2 (Jordan 2024); the step
    # has the root mean square of Adam's, 0.2 (Liu et al. 2025, section 2.2).
    along = np.diag(left.T @ moved @ right.T) / (0.1 * 0.2 * np.sqrt(6))
    assert along.min() > 0.6 and along.max() < 1.25
    np.testing.assert_allclose(other.numpy(), -0.1 * np.sign(gradient), atol=1e-4)

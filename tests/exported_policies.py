"""Tiny policies and their exported forms, held in memory."""

from pathlib import Path

import numpy as np
from any_backbone import any_backbone

from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.exporting.convert import convert_policy
from exphil_tf.exporting.precisions import Precision
from exphil_tf.exporting.publishing import assemble
from exphil_tf.inference.bundle import Bundle
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig


def make_policy(
    backbone: str = "mamba",
    *,
    layers: int = 1,
    head: str = "autoregressive",
    seed: int = 0,
    with_delay: bool = False,
) -> Policy:
    """A policy of some thousand weights whose logits are a few units apart."""
    config = PolicyConfig(
        EmbeddingConfig(action_dim=4, character_dim=2, with_delay=with_delay),
        any_backbone(backbone, hidden=(16,), num_layers=layers, state_size=4, num_heads=2),
        HeadConfig(head=head, head_hidden=8),
    )
    policy = Policy(config, seed=seed)
    rng = np.random.default_rng(seed)
    policy.head.output_bias.assign(rng.normal(0, 1.0, policy.head.output_bias.shape))
    return policy


def export(
    policy: Policy,
    precision: Precision = "float32",
    *,
    batch_size: int | None = None,
    frames: int = 0,
    folder: Path = Path("bundle"),
    info: PolicyInfo | None = None,
) -> Bundle:
    """The bundle that the export command would publish in `folder`."""
    return assemble(
        folder,
        convert_policy(policy, precision, batch_size=batch_size, frames=frames),
        policy=policy,
        info=info or PolicyInfo(policy.config),
        precision=precision,
        batch_size=batch_size,
        provenance={},
    )

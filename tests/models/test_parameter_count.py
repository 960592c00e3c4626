"""Counts of parameters without Keras, against the networks themselves."""

import dataclasses

import pytest

from models.backbones import BACKBONES, BackboneConfig, backbone_config
from models.parameter_count import num_parameters
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

SMALL = {"hidden": (12,), "num_layers": 3, "num_heads": 3, "state_size": 5, "window_size": 7}
OTHER_BACKBONES = (
    backbone_config("mlp", hidden=(8, 8, 12), residual=True, layer_norm=True),
    backbone_config("mamba", hidden=(40,), expand_factor=3, conv_size=3, state_size=2),
    backbone_config("sliding_window", hidden=(8,), num_heads=2, expand_factor=3, window_size=9),
)
OTHER_PARTS = (
    {"head": HeadConfig(head="independent", head_hidden=5, axis_buckets=9, shoulder_buckets=3)},
    {"embedding": EmbeddingConfig(with_prev_action=False, with_projectiles=False)},
    {
        "embedding": EmbeddingConfig(
            stage_mode="learned", action_mode="one_hot", nana_mode="enhanced", action_dim=6,
            character_dim=3, with_items=True, learn_player_styles=True,
        )
    },
    {"embedding": EmbeddingConfig(character_mode="one_hot", nana_mode="full", item_type_dim=0)},
)  # fmt: skip


def small(name: str) -> BackboneConfig:
    """A backbone with sizes that no other weight happens to have."""
    known = {field.name for field in dataclasses.fields(BACKBONES[name])}
    return backbone_config(name, **{key: SMALL[key] for key in known & SMALL.keys()})


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_counts_its_own_weights(name):
    config = PolicyConfig(backbone=small(name))
    assert num_parameters(config) == Policy(config).num_parameters


@pytest.mark.parametrize("backbone", OTHER_BACKBONES, ids=lambda config: config.backbone)
def test_a_backbones_other_options_count(backbone):
    config = PolicyConfig(backbone=backbone)
    assert num_parameters(config) == Policy(config).num_parameters


@pytest.mark.parametrize("parts", OTHER_PARTS)
def test_other_embeddings_and_heads_count(parts):
    config = PolicyConfig(backbone=backbone_config("mlp", hidden=(8,)), **parts)
    assert num_parameters(config) == Policy(config).num_parameters

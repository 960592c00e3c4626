"""Configurations: JSON round trip, refusals, and flags that do not clash."""

import dataclasses
import json

import pytest

from models.backbones import BACKBONES, backbone_config
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

CENTRES = (-1.0, -0.5, 0.0, 0.5, 1.0)
CONFIGS = [
    PolicyConfig(),
    PolicyConfig(
        EmbeddingConfig(stage_mode="learned", nana_mode="full", learn_player_styles=True),
        backbone_config("sliding_window", hidden=(64,), num_heads=8, truncate_bptt=30),
        HeadConfig(head="independent", axis_centres=CENTRES),
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_json_round_trip(config):
    assert PolicyConfig.from_json(config.to_json()) == config
    assert PolicyConfig.from_dict(config.to_dict()) == config


def test_missing_keys_take_defaults():
    assert PolicyConfig.from_json('{"head": {"axis_buckets": 33}}').head.axis_buckets == 33


def test_a_bundle_that_is_older_than_an_option_means_what_was_so_before():
    older = PolicyConfig().to_dict()
    del older["head"]["prev_action_buckets"]
    head = PolicyConfig.from_dict(older).head
    assert head == HeadConfig(prev_action_buckets=False)
    assert HeadConfig().prev_action_buckets


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("backbone", "num_layer"),
            2,
            r"policy.backbone: unknown key \(did you mean num_layers\?\)",
        ),
        (("optimizer",), {}, r"policy: unknown key.*'optimizer'"),
        (("backbone", "backbone"), "attention", "want one of mlp, lstm, gru"),
        (("backbone", "num_layers"), "2", "policy.backbone.num_layers: want int"),
        (("backbone", "num_layers"), True, "policy.backbone.num_layers: want int"),
        (("backbone", "hidden"), 256, "policy.backbone.hidden: want a list"),
        (("backbone", "hidden"), [], "backbone.hidden: want at least one width"),
        (("backbone", "hidden"), [0], "backbone.hidden: want an integer >= 1"),
        (("backbone", "dropout"), 1.0, "backbone.dropout: want 0 <= x < 1"),
        (("backbone", "dropout"), None, "policy.backbone.dropout: want float"),
        (("backbone", "truncate_bptt"), 0, "backbone.truncate_bptt: want an integer >= 1"),
        (("embedding", "stage_mode"), "tiny", "want one of compact, full, learned"),
        (("embedding", "action_dim"), 0, "embedding.action_dim: want an integer >= 1"),
        (("embedding", "item_type_dim"), -1, "embedding.item_type_dim: want an integer >= 0"),
        (("head", "axis_buckets"), 16, "axis_buckets: want an odd number"),
        (("head", "axis_centres"), [-1, 0.1, 1], "want an odd number of sorted, symmetric centres"),
        (("head",), [], "policy.head: want an object"),
    ],
)
def test_bad_values_are_refused_with_their_path(path, value, message):
    values = PolicyConfig().to_dict()
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        PolicyConfig.from_json(json.dumps(values))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads: want a divisor of the width"):
        backbone_config("sliding_window", hidden=(30,), num_heads=4)


def test_json_must_be_an_object():
    with pytest.raises(ValueError, match="want a JSON object"):
        PolicyConfig.from_json("[]")


@pytest.mark.parametrize("name", BACKBONES)
def test_json_of_a_backbone_has_its_own_options_alone(name):
    config = PolicyConfig(backbone=backbone_config(name))
    plain = config.to_dict()["backbone"]
    assert plain["backbone"] == name
    assert set(plain) == {field.name for field in dataclasses.fields(config.backbone)}
    # An older bundle names the options of every backbone, which decided nothing.
    older = {**everything(), **plain}
    assert PolicyConfig.from_dict({"backbone": older}) == config
    if config.backbone.has_memory:
        found = PolicyConfig.from_dict({"backbone": {"backbone": name, "hidden": [24, 8]}}).backbone
        assert found.hidden == (24,)
    # But their own must be sound.
    with pytest.raises(ValueError, match=r"dropout: want 0 <= x < 1"):
        PolicyConfig.from_dict({"backbone": older | {"dropout": 1.0}})


def everything():
    return {
        field.name: "of another"
        for cls in BACKBONES.values()
        for field in dataclasses.fields(cls)
        if field.init
    }


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_with_memory_has_one_width(name):
    assert backbone_config(name, hidden=(24, 24)).width == 24
    if not BACKBONES[name].has_memory:
        assert backbone_config(name, hidden=(16, 24)).width == 24
        return
    with pytest.raises(ValueError, match=r"want one width, .*Received: \(16, 24\)"):
        backbone_config(name, hidden=(16, 24))


def test_a_backbone_has_no_option_of_another():
    with pytest.raises(TypeError, match="state_size"):
        backbone_config("mlp", state_size=3)
    with pytest.raises(ValueError, match="want one of mlp, lstm, gru"):
        backbone_config("attention")


@pytest.mark.parametrize("name", BACKBONES)
def test_leaf_names_are_unique_so_that_flags_can_be_flat(name):
    parts = (EmbeddingConfig, BACKBONES[name], HeadConfig)
    names = [field.name for part in parts for field in dataclasses.fields(part)]
    assert len(names) == len(set(names)) > 25

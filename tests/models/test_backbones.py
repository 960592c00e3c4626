"""Every backbone keeps the temporal contract, and every option that it has changes something.

What is enumerated is the table, so that a backbone that is added is tested. Rounding to 8 bits,
exports and bundles are tested where they are at home, of every backbone too (`any_backbone.each`).
"""

import dataclasses
from pathlib import Path

import contracts
import numpy as np
import pytest
import tensorflow as tf
from any_backbone import any_backbone, each, wake

from models.backbones import BACKBONES
from models.policy_config import PolicyConfig

NAMES = sorted(BACKBONES)
SIZES = {
    "hidden": (16, 16), "num_layers": 2, "state_size": 4, "num_heads": 2, "window_size": 5,
    "dropout": 0.2, "mamba_heads": 4,
}  # fmt: skip


OWN_SIZES: dict[str, dict] = {"jamba": {"num_layers": 3}}


def sizes(name: str, **options):
    return dataclasses.replace(any_backbone(name, **SIZES | OWN_SIZES.get(name, {})), **options)


def make(name: str, **options):
    config = sizes(name, **options)

    def build(seed: int):
        layer = config.layer(seed=seed)
        layer.build((None, None, contracts.FEATURES))
        return wake(layer, seed)

    return build


SLOW = {
    "compiles": ("gru", "tx_like", "hybrid", "jamba"),
    "unroll_splits": ("jamba",),
    "step_equals_unroll": ("hybrid",),
}
"""By check, those whose blocks, or whose like, are tested."""


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(
            name,
            check,
            id=f"{name}-{check.__name__}",
            marks=[pytest.mark.slow] if name in SLOW.get(check.__name__, ()) else [],
        )
        for name in NAMES
        for check in contracts.TEMPORAL_CHECKS
    ],
)
def test_contract(name, check):
    # Compiling is slow, and one layer shows as much (of Jamba, one of each kind).
    layers = {"num_layers": 2 if name == "jamba" else 1}
    is_small = check is contracts.compiles and BACKBONES[name].has_memory
    check(make(name, **layers if is_small else {}))


@pytest.mark.parametrize("name", NAMES)
def test_options_round_trip(name):
    config = PolicyConfig(backbone=sizes(name))
    assert PolicyConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("name", NAMES)
def test_weights_round_trip(name, tmp_path: Path):
    contracts.weights_round_trip(make(name), tmp_path)


@pytest.mark.parametrize("name", each("mlp", "lstm", "mamba", "hybrid"))
def test_dropout_only_trains(name):
    contracts.dropout_only_trains(make(name))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"layer_norm": True, "residual": True, "hidden": (16, 24, 24)}),
        ("sliding_window", {"window_size": 2}),
        ("sliding_window", {"window_size": 40}),
        ("sliding_window", {"chunked_attention": True, "chunk_size": 3}),
        ("sliding_window", {"memory_efficient_attention": True, "chunk_size": 3}),
        ("sliding_window", {"qk_layernorm": False}),
        ("mamba", {"conv_size": 1}),
        ("mamba", {"conv_size": 20}),
        ("tx_like", {"expand_factor": 1, "num_layers": 1}),
        pytest.param("jamba", {"attention_every": 3, "window_size": 2}, marks=pytest.mark.slow),
        ("mamba2", {"conv_size": 20, "mamba_heads": 1}),
    ],
    ids=str,
)
def test_unusual_options_keep_the_contract(name, options):
    contracts.step_equals_unroll(make(name, **options))
    contracts.unroll_splits(make(name, **options))
    contracts.is_causal(make(name, **options))


WIDE_TUPLE = {"hidden": (24, 24)}
EFFECTIVE: dict[str, list[dict]] = {
    "mlp": [WIDE_TUPLE, {"hidden": (16,)}, {"layer_norm": True}, {"residual": True}],
    "lstm": [WIDE_TUPLE, {"num_layers": 1}],
    "mamba": [
        WIDE_TUPLE, {"num_layers": 1}, {"state_size": 5}, {"expand_factor": 3}, {"conv_size": 3},
    ],
    "mamba2": [
        WIDE_TUPLE, {"num_layers": 1}, {"state_size": 5}, {"expand_factor": 3}, {"conv_size": 3},
        {"mamba_heads": 8},
    ],
    "sliding_window": [
        WIDE_TUPLE, {"num_layers": 1}, {"num_heads": 4}, {"window_size": 4},
        {"qk_layernorm": False}, {"expand_factor": 3},
    ],
    "gru": [WIDE_TUPLE, {"num_layers": 1}],
    "tx_like": [WIDE_TUPLE, {"num_layers": 1}, {"expand_factor": 3}],
    "hybrid": [
        WIDE_TUPLE, {"num_layers": 1}, {"num_heads": 4}, {"window_size": 4},
        {"qk_layernorm": False}, {"expand_factor": 3},
    ],
    "jamba": [
        WIDE_TUPLE, {"num_layers": 2}, {"attention_every": 3}, {"state_size": 5},
        {"expand_factor": 3}, {"conv_size": 3}, {"num_heads": 4}, {"window_size": 4},
        {"qk_layernorm": False},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, many in EFFECTIVE.items() for o in many], ids=str
)
def test_options_change_the_output(name, options):
    x, is_resetting = contracts.inputs()
    base, _ = contracts.unroll(make(name)(0), x, is_resetting)
    other, _ = contracts.unroll(make(name, **options)(0), x, is_resetting)
    assert base.shape != other.shape or np.abs(base - other).max() > 1e-4


@pytest.mark.parametrize("name", each("lstm", "mamba", "sliding_window", has_memory=True))
def test_truncated_bptt_cuts_gradients_but_no_outputs(name):
    x, is_resetting = contracts.inputs()
    is_resetting[:] = False

    def gradient(layer):
        frames = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(frames)
            y, _ = layer.unroll(frames, layer.initial_state(contracts.BATCH), is_resetting)
            loss = tf.reduce_sum(y[:, 12] ** 2)
        return np.asarray(y), np.abs(np.asarray(tape.gradient(loss, frames))).sum(axis=(0, 2))

    options = {"window_size": 60} if hasattr(BACKBONES[name], "window_size") else {}
    y, reach = gradient(make(name, **options)(0))
    y_cut, reach_cut = gradient(make(name, truncate_bptt=5, **options)(0))
    np.testing.assert_allclose(y, y_cut, atol=1e-5)
    assert (reach[:13] > 0).all()
    assert (reach_cut[:10] == 0).all()
    assert (reach_cut[10:13] > 0).all()


@pytest.mark.parametrize("option", ["chunked_attention", "memory_efficient_attention"])
def test_attention_forms_agree(option):
    x, is_resetting = contracts.inputs(37)
    plain, _ = contracts.unroll(make("sliding_window", window_size=9)(0), x, is_resetting)
    options = {"window_size": 9, option: True, "chunk_size": 4}
    other, _ = contracts.unroll(make("sliding_window", **options)(0), x, is_resetting)
    np.testing.assert_allclose(plain, other, atol=1e-5)


@pytest.mark.parametrize("name", each("lstm", "hybrid", has_memory=True))
def test_long_games_stay_exact(name):
    """Four windows long, in uneven pieces: the carried state never drifts from one unroll."""
    layer = make(name)(0)
    x, is_resetting = contracts.inputs(90)
    whole, _ = contracts.unroll(layer, x, is_resetting)
    state, parts = layer.initial_state(contracts.BATCH), []
    for piece in (slice(0, 7), slice(7, 64), slice(64, 90)):
        y, state = contracts.unroll(layer, x[:, piece], is_resetting[:, piece], state)
        parts.append(y)
    np.testing.assert_allclose(whole, np.concatenate(parts, axis=1), atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_tested_here(name):
    """A new field of the configuration must be shown to change something."""
    tested = {key for options in EFFECTIVE[name] for key in options}
    tested |= {"backbone", "dropout", "truncate_bptt"}  # tests above
    same_result = {"chunked_attention", "chunk_size", "memory_efficient_attention"}
    same_result |= {"gradient_checkpoint", "checkpoint_every"}
    names = {field.name for field in dataclasses.fields(BACKBONES[name])}
    assert names <= tested | same_result


@pytest.mark.parametrize("name", NAMES)
def test_what_a_backbone_says_of_itself(name):
    config = sizes(name)
    layer = make(name)(0)
    assert (config.backbone, layer.width) == (name, config.width)
    state = tf.nest.flatten(layer.initial_state(2))
    assert len(state) == len(layer.state_names)
    assert bool(state) == config.has_memory
    wide = dataclasses.replace(config, hidden=(32, 32))
    assert wide.floats_per_frame(60) > config.floats_per_frame(60) > 0

import dataclasses
import json

import keras
import numpy as np
import pytest
import safetensors.numpy

from exphil_tf.checkpoints.policy_bundle import (
    CONFIG,
    WEIGHTS,
    Delay,
    PolicyInfo,
    load_policy,
    named_weights,
    save_policy,
)
from exphil_tf.checkpoints.store import NonFiniteError
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.rewards.win_score import NAMES
from models.backbones import BACKBONES, backbone_config
from models.policy import Policy
from models.policy_config import HeadConfig, PolicyConfig

CENTRES = (-1.0, -0.5, 0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def policy():
    config = PolicyConfig(
        backbone=backbone_config(backbone="lstm", hidden=(8,), num_layers=1),
        head=HeadConfig(axis_buckets=5, axis_centres=CENTRES),
    )
    return Policy(config, seed=3)


@pytest.fixture
def bundle(tmp_path, policy):
    info = PolicyInfo(policy.config, Delay(2, 0, 18), weights="ema", provenance={"seed": 3})
    save_policy(tmp_path / "policy", policy, info)
    return tmp_path / "policy"


def rewrite(bundle, change):
    """Changes config.json and renews the checksums, as a foreign tool would."""
    values = json.loads((bundle / CONFIG).read_text())
    change(values)
    weights = (bundle / WEIGHTS).read_bytes()
    with atomic.publish(bundle) as folder:
        (folder / CONFIG).write_text(json.dumps(values))
        (folder / WEIGHTS).write_bytes(weights)


def test_round_trip(bundle, policy):
    loaded, info = load_policy(bundle)
    assert loaded.config == policy.config
    assert (info.delay, info.weights, info.provenance) == (Delay(2, 0, 18), "ema", {"seed": 3})
    expected = named_weights(policy)
    found = named_weights(loaded)
    assert set(found) == set(expected)
    assert len(found) > 5
    for name, variable in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), variable.numpy())
    assert not any("seed" in name for name in found)


def test_players_travel_along_and_a_bundle_without_them_has_none(bundle, policy):
    assert load_policy(bundle)[1].players is None
    assert "players" not in json.loads((bundle / CONFIG).read_text())
    weights = (bundle / WEIGHTS).read_bytes()
    known = KnownPlayers({"0123456789abcdef": 1, "f" * 16: 2}, "public")
    save_policy(bundle, policy, PolicyInfo(policy.config, players=known))
    assert load_policy(bundle)[1].players == known
    assert (bundle / WEIGHTS).read_bytes() == weights

    rewrite(bundle, lambda values: values["players"]["ids"].update(Ann=3))
    with pytest.raises(UserError, match="players: want pseudonyms") as caught:
        load_policy(bundle)
    assert caught.value.exit_code == 65


def test_a_win_probability_travels_along(bundle, policy):
    assert load_policy(bundle)[1].win_probability is None
    assert "win_probability" not in json.loads((bundle / CONFIG).read_text())
    weights = dict.fromkeys(NAMES, 0.5)
    save_policy(bundle, policy, PolicyInfo(policy.config, win_probability=weights))
    assert load_policy(bundle)[1].win_probability == weights

    rewrite(bundle, lambda values: values["win_probability"].pop("percent"))
    with pytest.raises(UserError, match="win_probability: want finite numbers") as caught:
        load_policy(bundle)
    assert caught.value.exit_code == 65


def test_every_file_can_be_read_without_running_code(bundle):
    assert sorted(p.suffix for p in bundle.iterdir()) == [".json", ".json", ".safetensors"]


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, atomic.CHECKSUMS])
def test_flipped_bit_is_refused(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        load_policy(bundle)
    assert caught.value.exit_code == 65


def test_other_schema_is_refused_by_field(bundle):
    def change(values):
        values["schema"]["fingerprint"] = "0" * 16
        values["schema"]["digests"]["p.percent"] = "different"
        del values["schema"]["digests"]["p.stock"]

    rewrite(bundle, change)
    with pytest.raises(UserError, match=r"p\.percent.*p\.stock|p\.stock.*p\.percent") as caught:
        load_policy(bundle)
    assert caught.value.exit_code == 78
    assert SCHEMA.fingerprint() in str(caught.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda v: v.update(format="other"), 65),
        (lambda v: v.update(format_version=99), 78),
        (lambda v: v["policy"]["backbone"].update(hiden=4), 65),
        (lambda v: v["policy"]["backbone"].update(hidden=[16]), 65),
        (lambda v: v["codec"]["axis_centres"].__setitem__(0, -0.9), 78),
        (lambda v: v.pop("delay"), 65),
    ],
)
def test_foreign_bundle_is_refused(bundle, change, code):
    rewrite(bundle, change)
    with pytest.raises(UserError) as caught:
        load_policy(bundle)
    assert caught.value.exit_code == code


def refused(bundle):
    with pytest.raises(UserError) as caught:
        load_policy(bundle)
    assert caught.value.exit_code == 65
    assert len(str(caught.value)) < 600
    return str(caught.value)


def reweigh(bundle, change):
    """Changes the weights and renews the checksums."""
    weights = {n: np.array(v) for n, v in safetensors.numpy.load_file(bundle / WEIGHTS).items()}
    change(weights)
    config = (bundle / CONFIG).read_bytes()
    with atomic.publish(bundle) as folder:
        (folder / CONFIG).write_bytes(config)
        (folder / WEIGHTS).write_bytes(safetensors.numpy.save(weights))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(bundle, value):
    reweigh(bundle, lambda w: w["head/output_bias"].__setitem__(3, value))
    assert "head/output_bias: want finite numbers" in refused(bundle)


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", "u1"])
def test_weights_of_another_type_are_named(bundle, dtype):
    def change(weights):
        weights["head/output_bias"] = weights["head/output_bias"].astype(dtype)

    reweigh(bundle, change)
    assert "head/output_bias (want float32" in refused(bundle)


def test_weights_more_less_or_of_another_shape(bundle):
    reweigh(bundle, lambda w: w.update(surplus=np.zeros(2, np.float32)))
    assert "surplus" in refused(bundle)
    reweigh(bundle, lambda w: (w.pop("surplus"), w.pop("head/output_bias")))
    assert "no weight of shape" in refused(bundle)


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", -1), ("frames", 61), ("frames", 10**9), ("trained_min", 19), ("frames", True),
     ("trained_max", 1.5), ("trained_max", None), ("frames", "2"), ("frames", [1])],
)  # fmt: skip
def test_delays_that_no_policy_has(bundle, name, value):
    rewrite(bundle, lambda v: v["delay"].update({name: value}))
    assert "delay." in refused(bundle)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(surplus=1), "unknown keys ['surplus']"),
        (lambda v: v["policy"].update(surplus={}), "unknown key. Received: 'surplus'"),
        (lambda v: v["policy"]["head"].update(hed="x"), "did you mean head?"),
        (lambda v: v["delay"].update(surplus=1), "surplus"),
        (lambda v: v.update(window_size=-1), "window_size: want 1"),
        (lambda v: v.update(window_size=10**9), "window_size: want 1"),
        (lambda v: v.update(weights="mean"), "weights: want raw or ema"),
        (lambda v: v.update(weights=[]), "weights: want raw or ema"),
        (lambda v: v.update(provenance=3), "provenance: want an object"),
        (lambda v: v.pop("provenance"), "no 'provenance'"),
        (lambda v: v.update(policy=[]), "policy: want an object"),
        (lambda v: v.update(schema=3), CONFIG),
        (lambda v: v["codec"].update(axis_centres=None), "codec"),
    ],
)
def test_values_that_make_no_sense_are_named(bundle, change, words):
    rewrite(bundle, change)
    with pytest.raises(UserError) as caught:
        load_policy(bundle)
    assert caught.value.exit_code in (65, 78)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("backbone", "hidden", [10**9]),
        ("backbone", "hidden", [60_000]),
        ("backbone", "hidden", [1] * 100_000),
        ("backbone", "num_layers", 10**9),
        ("backbone", "num_layers", 50),
        ("backbone", "state_size", 10**12),
        ("backbone", "window_size", 10**12),
        ("embedding", "action_dim", 60_000),
        ("embedding", "num_player_names", 10**9),
        ("embedding", "item_type_dim", 10**400),
        ("head", "axis_buckets", 10**9 + 1),
        ("head", "shoulder_buckets", 10**9),
        ("head", "head_hidden", 60_000),
        ("head", "axis_centres", [0.0] * 100_001),
    ],
)
@pytest.mark.parametrize("backbone", ["lstm", "mamba", "mlp", "sliding_window"])
def test_networks_larger_than_their_weights_are_not_built(
    bundle, monkeypatch, backbone, part, name, value
):
    """Not one weight is made that is not in the file."""
    made = []
    make = keras.layers.Layer.add_weight

    def watched(layer, shape=None, *args, **kwargs):
        made.append(int(np.prod(shape or 1)))
        return make(layer, shape, *args, **kwargs)

    monkeypatch.setattr(keras.layers.Layer, "add_weight", watched)
    rewrite(
        bundle,
        lambda v: (
            v["policy"]["backbone"].update(backbone=backbone),
            v["policy"][part].update({name: value}),
        ),
    )
    own = {field.name for field in dataclasses.fields(BACKBONES[backbone])}
    if backbone == "lstm" and part == "backbone" and name not in own:
        load_policy(bundle)  # the file's own network: what is another's is passed over
    else:
        with pytest.raises(UserError):
            load_policy(bundle)
    stored = safetensors.numpy.load_file(bundle / WEIGHTS)
    assert sum(made) <= sum(array.size for array in stored.values())
    assert keras.layers.Layer.add_weight is watched


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "[" * 100_000, "1" * 10_000, '{"a": NaN}', '{"a": 1e999}', '"\\ud800"'],
)
def test_configurations_that_are_no_plain_values(bundle, text):
    weights = (bundle / WEIGHTS).read_bytes()
    with atomic.publish(bundle) as folder:
        (folder / CONFIG).write_text(text)
        (folder / WEIGHTS).write_bytes(weights)
    assert CONFIG in refused(bundle)


def test_missing_bundle(tmp_path):
    with pytest.raises(UserError, match="no policy bundle") as caught:
        load_policy(tmp_path / "none")
    assert caught.value.exit_code == 66


def test_nan_is_never_published(tmp_path, bundle, policy):
    before = (bundle / WEIGHTS).read_bytes()
    variable = policy.trainable_variables[0]
    value = variable.numpy()
    variable.assign(value * np.nan)
    try:
        with pytest.raises(NonFiniteError):
            save_policy(bundle, policy, PolicyInfo(policy.config))
    finally:
        variable.assign(value)
    assert (bundle / WEIGHTS).read_bytes() == before
    assert [p.name for p in bundle.parent.iterdir()] == ["policy"]


def test_info_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Delay().frames = 3  # type: ignore[misc]

import dataclasses
import json

import numpy as np
import pytest

from exphil_tf.checkpoints import atomic
from exphil_tf.checkpoints.policy import (
    CONFIG,
    WEIGHTS,
    Delay,
    PolicyInfo,
    load_policy,
    named_weights,
    save_policy,
)
from exphil_tf.checkpoints.store import NonFiniteError
from exphil_tf.errors import UserError
from exphil_tf.features.schema import SCHEMA
from models.config import BackboneConfig, HeadConfig, PolicyConfig
from models.policy import Policy

CENTRES = (-1.0, -0.5, 0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def policy():
    config = PolicyConfig(
        backbone=BackboneConfig(backbone="lstm", hidden=(8,), num_layers=1),
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

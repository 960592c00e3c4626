"""A run on several devices against one on one: the same losses, the same checkpoints."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from exphil_tf.foundation.errors import UserError
from exphil_tf.training.devices import parse_devices
from exphil_tf.training.run_config import RunConfig
from exphil_tf.training.train_config import DataConfig, TrainConfig, resolve
from exphil_tf.training.value_config import ValueConfig

TWO = ("--devices", "CPU:0,CPU:1")
ACCUMULATING = ("--accumulation-steps", "2", "--log-interval", "1")


def losses(run_dir, kind="train"):
    """NLL by step, of the last line that tells of one."""
    lines = map(json.loads, (run_dir / "log.jsonl").read_text().splitlines())
    return {line["step"]: line["nll_total"] for line in lines if line["event"] == kind}


def last(run_dir, name):
    lines = map(json.loads, (run_dir / "log.jsonl").read_text().splitlines())
    return [line[name] for line in lines if line["event"] == "train"][-1]


def compare(one, two, *, steps):
    """Both runs' losses, validation and averaged weights."""
    for kind in ("train", "validation"):
        expected, found = losses(one, kind), losses(two, kind)
        assert found.keys() == expected.keys()
        for step, value in expected.items():
            assert found[step] == pytest.approx(value, abs=1e-4), (kind, step)
    assert max(losses(one)) == steps
    weights, others = (load_file(d / "policy/weights.safetensors") for d in (one, two))
    for name, value in weights.items():
        np.testing.assert_allclose(others[name], value, atol=1e-4, err_msg=name)


def test_two_devices_learn_as_one(trainer, tmp_path):
    flags = ("--max-steps", "6", "--log-interval", "1")
    for name, devices in (("one", ()), ("two", TWO)):
        (tmp_path / name).mkdir()
        ended = trainer(tmp_path / name, *flags, *devices)
        assert ended.status == 0, ended.output
    compare(*(tmp_path / name / "runs/run" for name in ("one", "two")), steps=6)


@pytest.mark.slow
def test_two_devices_learn_as_one_and_each_resumes_the_other(trainer, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    # Dropout, averages, clipping and two updates left out for NaN come with it.
    one = trainer(tmp_path / "one", *ACCUMULATING, nan_from=3, nan_to=5)
    assert one.status == 0, one.output
    faults = {"nan_from": 3, "nan_to": 5, "signal_at_update": 8}
    two = trainer(tmp_path / "two", *ACCUMULATING, *TWO, **faults)
    assert two.status == 75, two.output
    go_on = (*ACCUMULATING, "--resume", "auto")
    two = trainer(tmp_path / "two", *go_on, "--devices", "1", signal_at_update=8)
    assert two.status == 75, two.output
    two = trainer(tmp_path / "two", *go_on, *TWO)
    assert two.status == 0, two.output
    runs = [tmp_path / name / "runs/run" for name in ("one", "two")]
    compare(*runs, steps=24)
    assert [last(run, "skipped") for run in runs] == [2, 2]
    assert last(runs[1], "frames") == last(runs[0], "frames")


@pytest.mark.slow
def test_compiled_loss_curve_over_50_updates(trainer, tmp_path):
    flags = ("--jit", "--backbone", "lstm", "--num-layers", "1", "--max-steps", "50")
    for name, devices in (("one", ()), ("two", TWO)):
        (tmp_path / name).mkdir()
        ended = trainer(tmp_path / name, *flags, "--log-interval", "1", *devices)
        assert ended.status == 0, ended.output
    compare(*(tmp_path / name / "runs/run" for name in ("one", "two")), steps=50)


def test_devices_by_number_and_name():
    assert parse_devices("1") == ()
    assert parse_devices("3") == ("GPU:0", "GPU:1", "GPU:2")
    assert parse_devices("gpu:2, gpu:0") == ("GPU:2", "GPU:0")


@pytest.mark.parametrize("asked", ["", "0", "-1", "GPU:0,GPU:0", "CPU:0,GPU:0", "GPU", "TPU:0"])
def test_other_words_are_no_devices(asked):
    with pytest.raises(ValueError, match="devices: want"):
        RunConfig(devices=asked)


def test_a_batch_must_split_evenly():
    with pytest.raises(ValueError, match="batch_size: want a multiple of the 3 devices"):
        RunConfig(devices="3", batch_size=64)


def test_an_absent_gpu_is_told(trainer, tmp_path):
    ended = trainer(tmp_path, "--devices", "2")
    assert ended.status == 2
    assert "this machine has no GPU:0, GPU:1" in ended.output


def test_a_head_beside_the_policy_is_refused():
    value, run = ValueConfig(value_head=True), RunConfig(devices="2")
    with pytest.raises(UserError, match="--devices: a value head beside the policy"):
        resolve(TrainConfig(DataConfig(data="d"), value=value, run=run))

import logging

import numpy as np
import pytest

from exphil_tf.checkpoints.store import (
    CheckpointStore,
    NonFiniteError,
    open_checkpoint,
    require_finite,
)
from exphil_tf.foundation import atomic


def save(store, step, metric=None):
    meta = {} if metric is None else {"metric": metric}
    return store.save(step, lambda folder: (folder / "w").write_bytes(b"%d" % step * 100), meta)


def steps(store):
    return [c.step for c in store.checkpoints()]


def test_last_and_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2, keep_best=2)
    for step, metric in enumerate([5.0, 1.0, 4.0, 2.0, 9.0, 8.0, None], start=1):
        save(store, step, metric)
    assert steps(store) == [2, 4, 6, 7]
    best = store.best()
    assert best is not None
    assert best.step == 2
    assert best.meta == {"metric": 1.0, "step": 2}


def test_latest_is_the_newest(tmp_path):
    store = CheckpointStore(tmp_path)
    assert store.latest() is None
    for step in (5, 100_000_000, 20):
        save(store, step)
    latest = store.latest()
    assert latest is not None
    assert latest.step == 100_000_000


@pytest.mark.parametrize("name", ["w", "meta.json", atomic.CHECKSUMS])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path, caplog, name, damage):
    store = CheckpointStore(tmp_path, keep_last=2)
    for step in (1, 2):
        save(store, step)
    path = tmp_path / "step-00000002" / name
    data = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        latest = store.latest(quarantine=True)
    assert latest is not None
    assert latest.step == 1
    assert "step-00000002 is damaged" in caplog.text
    # Set aside, it doesn't push a sound one out.
    save(store, 3)
    assert steps(store) == [1, 3]
    with pytest.raises(ValueError, match="damaged|want a checkpoint"):
        open_checkpoint(tmp_path / "corrupt-step-00000002")


def test_a_failing_save_removes_nothing(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=1)
    save(store, 1)

    def fail(folder):
        (folder / "w").write_bytes(b"half")
        raise NonFiniteError("weights: NaN")

    with pytest.raises(NonFiniteError):
        store.save(2, fail, {})
    assert steps(store) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_saving_a_step_again_replaces_it(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 1)
    save(store, 1, metric=2.0)
    (checkpoint,) = store.checkpoints()
    assert checkpoint.meta["metric"] == 2.0
    assert atomic.problems(checkpoint.path) == []


def test_sweep_removes_what_a_kill_left(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 1)
    left = tmp_path / f"{atomic.TEMPORARY}step-00000002-abcd"
    left.mkdir()
    (left / "w").write_bytes(b"half")
    store.sweep()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite_gate_names_the_array(value):
    arrays = [("good", np.zeros(3)), ("ids", np.arange(3)), ("bad", np.array([0.0, value]))]
    with pytest.raises(NonFiniteError, match="bad"):
        require_finite(arrays)
    require_finite(arrays[:2])

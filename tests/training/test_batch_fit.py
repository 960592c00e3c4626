"""The batch that fits into memory: arithmetic, what is refused, and one real measurement."""

import dataclasses

import pytest

from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training import batch_fit
from exphil_tf.training.batch_fit import Trial, largest_batch, memory_budget, with_batch_size
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.train_config import TrainConfig

MIB = 1 << 20
SMALL = ("--backbone", "mlp", "--hidden", "8", "--head-hidden", "4", "--window-size", "30",
         "--batch-size", "4", "--seed", "1", "--auto-batch-size")  # fmt: skip


@pytest.mark.parametrize(
    ("budget_mb", "most", "size"),
    [
        (1100, 1000, 448),  # 0.9 (1100 - 100) / 2 = 450, in eights
        (1100, 100, 96),
        (110, 1000, 4),
        (105, 1000, 2),
    ],
)
def test_what_fits_follows_from_what_an_unroll_takes(budget_mb, most, size):
    trial = Trial(16, resting_bytes=100 * MIB, update_bytes=32 * MIB)
    assert largest_batch(trial, budget=budget_mb * MIB, most=most) == size


def test_too_little_memory_is_refused_with_what_it_takes():
    trial = Trial(16, resting_bytes=100 * MIB, update_bytes=32 * MIB)
    with pytest.raises(UserError, match="want at least 102 MiB. Received: 101 MiB"):
        largest_batch(trial, budget=101 * MIB, most=64)


def test_the_budget_is_the_gpus_or_half_of_what_is_free(monkeypatch):
    assert memory_budget(300) == (300 * MIB, "as given")
    monkeypatch.setattr(batch_fit, "_gpu_bytes", lambda: 1000 * MIB)
    assert memory_budget(None) == (900 * MIB, "90% of the GPU")
    monkeypatch.setattr(batch_fit, "_gpu_bytes", lambda: 0)
    size, where = memory_budget(None)
    assert size > MIB and "half" in where


def test_a_smaller_batch_is_tried_where_a_process_was_killed(dataset, monkeypatch):
    tried = []

    def trial(config, dataset):
        tried.append(config.run.batch_size)
        size = config.run.batch_size
        return Trial(size, 50 * MIB, size * MIB) if len(tried) > 2 else None

    monkeypatch.setattr(batch_fit, "_in_a_process", trial)
    asked = load(TrainConfig, ["--data", "d", *SMALL, "--memory-budget-mb", "150"])
    data = Dataset(dataset, load_manifest(dataset))
    config, notes = with_batch_size(asked, data, is_resuming=False)
    assert tried[1] == tried[0] // 4 and tried[2] == tried[1] // 4
    assert config.run.batch_size == 88  # 0.9 (150 - 50), in eights
    assert not config.run.auto_batch_size  # what is saved repeats the run without measuring
    assert "batch_size 88, as an unroll takes 1.00 MiB and the run may take 150 MiB" in notes[0]
    assert "the learning rate stays 0.002" in notes[1]
    kept, (note,) = with_batch_size(asked, data, is_resuming=True)
    assert kept == asked and "keeps its batch_size" in note
    plain = dataclasses.replace(asked, run=dataclasses.replace(asked.run, auto_batch_size=False))
    assert with_batch_size(plain, data, is_resuming=False) == (plain, [])


@pytest.mark.slow
def test_a_measured_batch_is_one_that_runs_in_the_budget(dataset):
    asked = load(TrainConfig, ["--data", "d", *SMALL, "--memory-budget-mb", "4000"])
    data = Dataset(dataset, load_manifest(dataset))
    imitation = asked.imitation(data.manifest.unrecorded())
    trials = []
    for size in (64, 256):
        run = dataclasses.replace(imitation.run, batch_size=size)
        trials.append(batch_fit._in_a_process(dataclasses.replace(imitation, run=run), data))
    small, large = trials
    assert 100 * MIB < small.resting_bytes < 4000 * MIB
    assert small.update_bytes < large.update_bytes < 12 * small.update_bytes

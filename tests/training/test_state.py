"""What a checkpoint says is looked at before a run goes on from it."""

import numpy as np
import pytest
import tensorflow as tf
import zstandard
from hostile_folders import spoil_bytes

from exphil_tf.training.early_stopping import Progress
from exphil_tf.training.learner import LearnerVariables
from exphil_tf.training.state import Position, TrainState


def variables(value=1.0):
    return LearnerVariables(
        weights={"policy/w": tf.Variable(np.full((3, 4), value, np.float32))},
        training={"updater/m": tf.Variable(np.full(4, value, np.float32))},
        counters={
            "sums/loss": tf.Variable(np.float32(value)),
            "seed": tf.Variable(np.arange(2, dtype=np.uint32)),
        },
    )


def write(folder, values=None, spoilt=None):
    """A checkpoint of variables, one of them NaN, which `TrainState.write` refuses to write."""
    folder.mkdir()
    if spoilt is None:
        TrainState(values or variables()).write(folder)
        return folder
    named = variables().all()
    named[spoilt].assign(named[spoilt] * np.nan)
    tf.train.Checkpoint(variables=named).write(str(folder / "state"))
    for path in folder.glob("state.*"):
        path.with_name(f"{path.name}.zst").write_bytes(
            zstandard.ZstdCompressor().compress(path.read_bytes())
        )
        path.unlink()
    return folder


def test_a_position_of_an_earlier_release_is_read():
    values = Position(step=3, epoch_frames=2.0, epoch_sum=5.0).to_dict()
    values["epoch_nll"] = values.pop("epoch_sum")
    assert Position.from_dict(values).epoch_mean == 2.5


def test_position_round_trip():
    progress = Progress(best=1.5, best_step=4, reference=1.5, waited=2)
    position = Position(9, 8, progress, 12.5, 3.0, 1.25, 1)
    assert Position.from_dict(position.to_dict()) == position
    assert Position.from_dict(Position().to_dict()) == Position()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1), ("step", 1.5), ("step", True), ("step", "9"), ("step", None), ("step", []),
        ("frames", float("nan")), ("frames", float("inf")), ("epoch_sum", "x"), ("rollbacks", -3),
        ("validated_step", {}), ("surplus", 1),
    ],
)  # fmt: skip
def test_positions_that_make_no_sense(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        Position.from_dict(Position().to_dict() | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("waited", -1), ("waited", None), ("best", float("nan")), ("best_step", 1.5), ("more", 1)],
)
def test_progress_that_makes_no_sense(name, value):
    values = Position().to_dict()
    values["progress"] |= {name: value}
    with pytest.raises((ValueError, TypeError), match=name):
        Position.from_dict(values)


@pytest.mark.parametrize("name", ["policy/w", "updater/m", "sums/loss"])
def test_a_state_that_is_not_finite_is_named(tmp_path, name):
    folder = write(tmp_path / "step", spoilt=name)
    with pytest.raises(ValueError, match=f"{name}: want finite numbers"):
        TrainState(variables(0.0)).read(folder)


def test_what_was_learnt_is_read_though_sums_are_spoilt(tmp_path):
    """A run that met NaN goes back to the weights of a checkpoint; its sums start anew."""
    folder = write(tmp_path / "step", variables(2.0))
    now = variables(0.0)
    now.counters["sums/loss"].assign(np.nan)
    TrainState(now).read(folder, with_data=False)
    assert (now.weights["policy/w"].numpy() == 2).all()
    assert (now.training["updater/m"].numpy() == 2).all()
    assert np.isnan(now.counters["sums/loss"].numpy())


def test_the_digest_of_weights_is_of_nothing_else():
    now = variables()
    before = TrainState(now).weights_sha256()
    for other in (*now.training.values(), *now.counters.values()):
        other.assign(other + 1)
    assert TrainState(now).weights_sha256() == before
    now.weights["policy/w"].assign(now.weights["policy/w"] + 1)
    assert TrainState(now).weights_sha256() != before


def test_what_is_no_trackable_is_not_taken_for_data():
    with pytest.raises(ValueError, match="trackable"):
        TrainState(variables(), iter([1, 2]))


@pytest.mark.parametrize("seed", range(40))
def test_a_state_whose_bytes_are_spoilt_under_sound_checksums(tmp_path, seed):
    folder = write(tmp_path / "step")
    rng = np.random.default_rng(seed)
    path = folder / ("state.index.zst" if seed % 2 else "state.data-00000-of-00001.zst")
    data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    path.write_bytes(zstandard.ZstdCompressor().compress(spoil_bytes(rng, data)))
    state = TrainState(variables())
    try:
        state.read(folder)
    except ValueError as error:
        assert str(folder) in str(error)
    assert all(np.isfinite(v.numpy()).all() for v in state.variables.values())


def test_a_state_that_unpacks_without_end_does_not_fill_the_disk(tmp_path):
    folder = write(tmp_path / "step")
    index = folder / "state.index.zst"
    index.write_bytes(zstandard.ZstdCompressor().compress(bytes(64 << 20)))
    with pytest.raises(ValueError, match="unpacks to more than a state"):
        TrainState(variables(), allowance=1 << 20).read(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["step"]

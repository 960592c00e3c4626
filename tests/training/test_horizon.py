"""How long a run is, and where its epochs end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exphil_tf.training.horizon import Horizon
from exphil_tf.training.plan import horizon_of
from exphil_tf.training.run_config import RunConfig


def test_length_comes_from_the_data():
    run = RunConfig(epochs=3, batch_size=10)
    assert horizon_of(1000, run=run, accumulation_steps=1) == Horizon(100.0, 300)
    assert horizon_of(1000, run=run, accumulation_steps=4) == Horizon(25.0, 75)
    capped = RunConfig(epochs=3, batch_size=10, max_steps=120)
    assert horizon_of(1000, run=capped, accumulation_steps=1).total_steps == 120
    assert horizon_of(3, run=run, accumulation_steps=1).total_steps == 1


def test_a_small_collection_is_read_until_there_were_enough_updates():
    run = RunConfig(epochs=3, batch_size=10, min_steps=50)
    assert horizon_of(20, run=run, accumulation_steps=1) == Horizon(2.0, 50)
    assert horizon_of(1000, run=run, accumulation_steps=1) == Horizon(100.0, 300)
    both = RunConfig(epochs=3, batch_size=10, min_steps=50, max_steps=80)
    assert horizon_of(1000, run=both, accumulation_steps=1).total_steps == 80
    # A preset's least does not stand in the way of who asks for fewer.
    fewer = RunConfig(epochs=3, batch_size=10, min_steps=81, max_steps=80)
    assert horizon_of(20, run=fewer, accumulation_steps=1).total_steps == 80


def test_validation_within_epochs():
    horizon = Horizon(10.0, 25, validate_every=4)
    validated = [step for step in range(26) if horizon.is_validated(step)]
    assert validated == [4, 8, 10, 12, 16, 20, 24, 25]
    assert [step for step in range(30) if horizon.ends_epoch(step)] == [10, 20, 25]
    assert Horizon(10.0, 25).validations() == 3
    assert Horizon(10.0, 25).validations(after=10) == 2
    # About as many, as both may fall on one update.
    assert abs(horizon.validations() - len(validated)) <= 1


@given(
    unrolls=st.integers(1, 5000),
    batch=st.integers(1, 300),
    epochs=st.integers(1, 12),
    accumulation=st.integers(1, 4),
)
def test_every_epoch_ends_once(unrolls, batch, epochs, accumulation):
    run = RunConfig(epochs=epochs, batch_size=batch)
    horizon = horizon_of(unrolls, run=run, accumulation_steps=accumulation)
    ends = [s for s in range(horizon.total_steps + 1) if horizon.ends_epoch(s)]
    assert ends[-1] == horizon.total_steps
    assert len(ends) == len(set(ends))
    if horizon.steps_per_epoch >= 1:
        assert len(ends) == epochs
        lengths = [b - a for a, b in zip([0, *ends], ends, strict=False)]
        assert max(lengths) - min(lengths) <= 1


@given(
    frames=st.integers(1, 10**6), per_update=st.integers(1, 4096), per_epoch=st.integers(1, 10**5)
)
def test_a_run_of_frames_has_no_fewer(frames, per_update, per_epoch):
    horizon = Horizon.of_frames(frames, per_update=per_update, per_epoch=per_epoch)
    assert frames <= horizon.total_steps * per_update < frames + per_update
    assert horizon.epoch_of(per_epoch) == pytest.approx(per_update)
    assert horizon.ends_epoch(horizon.total_steps)


def test_a_run_cut_short_ends_there_too():
    horizon = Horizon(10.0, 25)
    assert [s for s in range(30) if horizon.ends_epoch(s)] == [10, 20, 25]
    assert horizon.epoch_of(25) == pytest.approx(2.5)

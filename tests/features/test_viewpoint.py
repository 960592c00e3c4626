"""Perspective and mirror of typed columns: those of packed rows, on every column."""

import numpy as np
import pytest
from fixture_replays import NAMES
from hypothesis import given, settings
from hypothesis import strategies as st

from exphil_tf.features import packing
from exphil_tf.features.schema import PLAYERS, SCHEMA
from exphil_tf.features.viewpoint import mirror_columns, take_perspective
from exphil_tf.melee.types import Frames
from exphil_tf.replays.parse import parse
from tests import strategies

GRIDS = pytest.mark.parametrize("on_grid", [True, False])


def packed(columns) -> np.ndarray:
    return packing.pack_planes(Frames(columns))


def assert_same(one, two) -> None:
    assert list(one) == list(two)
    for name in one:
        assert one[name].dtype == two[name].dtype, name
        # By bits: a zero keeps its sign.
        assert one[name].tobytes() == two[name].tobytes(), name


@GRIDS
@given(st.data())
@settings(deadline=None, max_examples=60)
def test_mirror_is_that_of_packed_rows(on_grid, data):
    columns = data.draw(strategies.frames(on_grid=on_grid)).columns
    want = packing.mirror_planes(packed(columns))
    np.testing.assert_array_equal(packed(mirror_columns(columns)), want)


@given(strategies.frames(on_grid=False))
@settings(deadline=None, max_examples=60)
def test_two_mirrors_are_none(frames):
    assert_same(mirror_columns(mirror_columns(frames.columns)), frames.columns)


@pytest.mark.parametrize("own", [0, 1])
@given(frames=strategies.frames())
@settings(deadline=None, max_examples=30)
def test_perspective_is_that_of_packed_rows_and_its_own_inverse(own, frames):
    seen = take_perspective(frames.columns, own)
    want = packed(frames.columns)[packing.perspective_order(own)]
    np.testing.assert_array_equal(packed(seen), want)
    assert_same(take_perspective(seen, own), frames.columns)
    both = mirror_columns(seen), take_perspective(mirror_columns(frames.columns), own)
    assert_same(*both)


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_and_many_games_are_seen_as_a_whole_replay_is(real_replay, name):
    """Leading axes: none, `[games]`, `[games, time]`."""
    columns = parse(real_replay(name)).frames.columns
    whole = mirror_columns(take_perspective(columns, 1))
    games = {key: column[:96].reshape(4, 24, *column.shape[1:]) for key, column in columns.items()}
    batched = mirror_columns(take_perspective(games, 1))
    for row in (0, 40, 95):
        one = {key: column[row] for key, column in columns.items()}
        single = mirror_columns(take_perspective(one, 1))
        for key, column in single.items():
            assert column.shape == SCHEMA.field(key).shape
            np.testing.assert_array_equal(column, whole[key][row], err_msg=key)
            np.testing.assert_array_equal(batched[key][row // 24, row % 24], column, err_msg=key)


def test_perspective_moves_every_column_of_players_and_no_other():
    frames = strategies.make_frames(seed=1, num_frames=50, extremes=0.0, on_grid=True)
    seen = take_perspective(frames.columns, 1)
    moved = {name for name in seen if seen[name] is not frames[name]}
    assert moved == {field.name for field in SCHEMA.fields if field.shape == (PLAYERS,)}
    assert {"p.items_owned", "n.exists", "c.buttons"} <= moved
    with pytest.raises(ValueError, match="own: want player 0 or 1"):
        take_perspective(frames.columns, 2)

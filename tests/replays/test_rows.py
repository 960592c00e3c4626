"""Which rows a game keeps, fills and masks: against naive loops, on random streams and values."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_games import make_game

from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.replays import rows
from exphil_tf.replays.parse import Route, read_replay
from exphil_tf.replays.refusals import Reason, ReplayError

LENGTH = 400


@given(st.integers(0, 2**32 - 1), st.sampled_from(["last", "first"]))
def test_rows_of_random_streams_equal_a_naive_reading(seed: int, version: rows.Version) -> None:
    """Rollbacks and short holes: each frame's version, or the row before it where there is none."""
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    now = -123
    while now < 100:
        ids.append(now)
        now = max(-123, now - int(rng.integers(0, 7))) if rng.random() < 0.05 else now + 1
    keep = rng.random(len(ids)) > 0.005
    keep[-1] = True
    stream = np.array(ids, np.int32)[keep]
    places: dict[int, int] = {}
    for place, frame in enumerate(stream.tolist()):
        if version == "last" or frame not in places:
            places[frame] = place
    first = min(places) if min(places) > -93 else -123
    last_seen, want, filled = places[min(places)], [], []
    for frame in range(first, int(stream[-1]) + 1):
        last_seen = places.get(frame, last_seen)
        want.append(last_seen)
        filled.append(frame not in places)
    got = rows.select_rows(stream, version)
    source = np.arange(len(stream))[got.source]
    assert source.tolist() == want
    assert got.filled.tolist() == filled
    assert got.frame.tolist() == list(range(first, int(stream[-1]) + 1))


def test_frames_behind_the_last_row_were_undone() -> None:
    stream = np.array([0, 1, 2, 3, 4, 2, 3], np.int32)
    got = rows.select_rows(stream, "last")
    assert np.arange(7)[got.source].tolist() == [0, 1, 5, 6]


@pytest.mark.parametrize(("missing", "kept"), [(30, True), (31, False)])
def test_holes_have_a_longest_length(missing: int, kept: bool) -> None:
    stream = np.r_[0:1000, 1000 + missing : 3000].astype(np.int32)
    assert rows.sound_prefix(stream) == (len(stream) if kept else 1000)
    if kept:
        assert rows.select_rows(stream, "last").filled.sum() == missing
    else:
        with pytest.raises(ReplayError) as caught:
            rows.select_rows(stream, "last")
        assert caught.value.reason is Reason.FRAME_GAP


@given(st.integers(0, 2**32 - 1))
def test_what_is_left_of_a_prefix_is_always_accepted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stream = np.flatnonzero(rng.random(1500) > rng.choice([0.0, 0.01, 0.02, 0.03, 0.5]))
    stream = np.union1d(0, stream).astype(np.int32)[: int(rng.integers(1, len(stream)))] - 123
    count = rows.sound_prefix(stream)
    assert 1 <= count <= len(stream)
    rows.select_rows(stream[:count], "last")


def columns_of(length: int) -> dict[str, np.ndarray]:
    found = {
        name: column.copy() for name, column in make_game(1, length=length).frames.columns.items()
    }
    found["p.stock"][:] = 3
    return found


@given(st.integers(0, 2**32 - 1))
def test_implausible_values_of_every_field_are_held_and_marked(seed: int) -> None:
    """Every float field takes NaN, infinities and values out of range; integers what their type
    holds."""
    rng = np.random.default_rng(seed)
    columns, want = columns_of(LENGTH), np.zeros(LENGTH, bool)
    sound = {name: column.copy() for name, column in columns.items()}
    field = SCHEMA.fields[int(rng.integers(len(SCHEMA.fields)))]
    if field.name in ("frame", "absent") or not _outside(field):
        return
    for row in rng.integers(0, LENGTH, 6):
        cell = tuple(int(rng.integers(0, size)) for size in field.shape)
        columns[field.name][(row, *cell)] = rng.choice(_outside(field))
        want[row] = True
    got = rows.mask(columns, np.zeros(LENGTH, bool))
    assert (got["absent"] == np.where(want, SPOILED, 0)).all()
    np.testing.assert_array_equal(got[field.name][~want], sound[field.name][~want])
    assert (got[field.name] >= field.low).all() and (got[field.name] <= field.high).all()
    for row in np.flatnonzero(want[1:]) + 1:
        same = columns[field.name][row] == sound[field.name][row]
        np.testing.assert_array_equal(
            got[field.name][row], np.where(same, sound[field.name][row], got[field.name][row - 1])
        )


def _outside(field) -> list[float]:
    if field.dtype == "float32":
        return [np.nan, np.inf, -np.inf, field.high * 1.01 + 1, field.low - 1 - abs(field.low)]
    bounds = np.iinfo(field.dtype)
    return [v for v in (bounds.min, bounds.max) if not field.low <= v <= field.high]


@pytest.mark.parametrize(
    ("stock", "spoiled"),
    [
        ([4, 4, 4, 9, 4, 3, 3], [3]),
        ([4, 4, 0, 4, 4, 3, 3], [2]),
        ([4, 4, 3, 3, 2, 2, 1], []),
        ([4, 4, 4, 4, 4, 4, 5], [6]),
    ],
)
def test_a_stock_count_that_jumps_is_masked(stock: list[int], spoiled: list[int]) -> None:
    columns = columns_of(LENGTH)
    columns["p.stock"][:] = 4
    columns["p.stock"][: len(stock), 1] = stock
    columns["p.stock"][len(stock) :, 1] = stock[-1] if not spoiled or spoiled[0] < 6 else 4
    got = rows.mask(columns, np.zeros(LENGTH, bool))
    assert np.flatnonzero(got["absent"]).tolist() == spoiled
    assert (np.diff(got["p.stock"].astype(int), axis=0) <= 0).all()


def test_an_impossible_stock_stays_masked_where_another_frame_gains_one() -> None:
    columns = columns_of(LENGTH)
    columns["p.stock"][:] = 4
    columns["p.stock"][7, 0], columns["p.stock"][9, 1] = 192, 9
    got = rows.mask(columns, np.zeros(LENGTH, bool))
    assert np.flatnonzero(got["absent"]).tolist() == [7, 9]
    assert (got["p.stock"] == 4).all()


@pytest.mark.parametrize(("count", "length"), [(9, 400), (21, 1000), (1, 10)])
def test_a_game_of_too_many_spoiled_rows_is_refused(count: int, length: int) -> None:
    """Two in a hundred and one more, filled and masked rows together."""
    columns, filled = columns_of(length), np.zeros(length, bool)
    columns["p.x"][: count - count // 2, 1] = np.nan
    filled[length - count // 2 :] = True
    assert (rows.mask(columns, filled)["absent"] > 0).sum() == count
    columns["p.x"][: count + 1 - count // 2, 1] = np.nan
    with pytest.raises(ReplayError, match=r"out_of_range: p.x: .*spoiled"):
        rows.mask(columns, filled)


@pytest.mark.parametrize(
    ("case", "spoiled"),
    [("damaged_twin/client_b_lost_an_event", 1), ("validation_left_empty/damaged_one_nan", 1)],
)
def test_one_damaged_frame_leaves_the_game(cases_dir: Path, case: str, spoiled: int) -> None:
    replay = read_replay(cases_dir / f"{case}.slp")
    assert (replay.game.frames["absent"] & SPOILED > 0).sum() == spoiled
    assert len(replay.game.frames) > 600
    assert replay.route in (Route.STRICT, Route.REPAIRED)

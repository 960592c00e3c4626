"""Packed rows: exact round trip, perspective as a permutation, reflection as byte arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings

from exphil_tf.features import packing
from exphil_tf.features.schema import SCHEMA, Group
from exphil_tf.melee.enums import zero_index_table
from exphil_tf.melee.types import Frames
from tests import strategies
from tests.raw_mirror import other_side

# What a reflection means, written down by hand: the schema must agree, not the other way round.
PER_CHARACTER_NEGATED = ("x", "speed_air_x_self", "speed_ground_x_self", "speed_x_attack")
NEGATED = {
    *(f"{group}.{name}" for group in "pn" for name in PER_CHARACTER_NEGATED),
    "c.main_x", "c.c_x", "i.x", "i.speed_x", "s.randall_x", "s.whispy",
}  # fmt: skip
SWAPPED = {"s.fod_left": "s.fod_right", "s.fod_right": "s.fod_left"}


def reflected(frames: Frames) -> Frames:
    """The reference: plain arithmetic on columns."""
    columns = {}
    for name in frames:
        column = frames[SWAPPED.get(name, name)]
        if name in NEGATED:
            column = -column
        elif name == "p.facing":
            column = 1 - column
        elif name == "n.facing":
            column = np.where(frames["n.exists"] == 1, 1 - column, 0).astype(np.uint8)
        elif name in ("p.action", "n.action"):
            column = other_side(column, frames[f"{name[0]}.character"])
        columns[name] = column
    shift = zero_index(frames["p.character"], columns["p.action"])
    shift = shift - zero_index(frames["p.character"], frames["p.action"])
    columns["p.action_frame"] = (frames["p.action_frame"] + shift).astype(np.int16)
    return Frames(columns)


def zero_index(character: np.ndarray, action: np.ndarray) -> np.ndarray:
    return zero_index_table()[character, action].astype(int)


def assert_same(actual: Frames, wanted: Frames) -> None:
    assert set(actual) == set(wanted)
    for name in wanted:
        assert actual[name].dtype == wanted[name].dtype, name
        np.testing.assert_array_equal(actual[name], wanted[name], err_msg=name)


@given(strategies.frames())
@settings(deadline=None, max_examples=60)
def test_unpack_inverts_pack_exactly(frames):
    assert not SCHEMA.check(frames)
    rows = packing.pack(frames)
    assert rows.shape == (len(frames), packing.ROW_BYTES)
    assert_same(packing.unpack(rows), frames)


@given(strategies.frames(on_grid=False))
@settings(deadline=None, max_examples=20)
def test_values_off_the_grid_move_by_at_most_half_a_step(frames):
    back = packing.unpack(packing.pack(frames))
    for field in SCHEMA.group(Group.CONTROLLER):
        steps = {"stick": 80, "trigger": 140}.get(field.store.value)
        if steps:
            error = np.abs(back[field.name] - frames[field.name])
            assert error.max() <= 0.5 / steps + 1e-6


@given(strategies.frames())
@settings(deadline=None, max_examples=30)
def test_perspective_swaps_the_players_and_nothing_else(frames):
    rows = packing.pack(frames)
    assert (rows[:, packing.perspective_order(0)] == rows).all()
    swapped = packing.unpack(rows[:, packing.perspective_order(1)])
    per_player = {field.name for field in SCHEMA.fields if field.shape == (2,)}
    assert {"p.x", "n.percent", "c.buttons", "p.items_owned"} <= per_player
    wanted = {n: frames[n][:, ::-1] if n in per_player else frames[n] for n in frames}
    assert_same(swapped, Frames(wanted))


@pytest.mark.parametrize("own", [0, 1])
def test_perspective_twice_is_the_identity(own):
    order = packing.perspective_order(own)
    assert sorted(order) == list(range(packing.ROW_BYTES))
    assert (order[order] == np.arange(packing.ROW_BYTES)).all()


@given(strategies.frames())
@settings(deadline=None, max_examples=60)
def test_reflection_means_what_it_says_for_every_field(frames):
    planes = packing.mirror_planes(packing.pack_planes(frames))
    assert_same(packing.unpack(np.ascontiguousarray(planes.T)), reflected(frames))


@given(strategies.frames())
@settings(deadline=None, max_examples=30)
def test_reflection_twice_is_the_identity_bit_for_bit(frames):
    planes = packing.pack_planes(frames)
    once = packing.mirror_planes(planes)
    assert (packing.mirror_planes(once) == planes).all()
    assert (once != planes).any() or not any(frames[name].any() for name in NEGATED)


@given(strategies.frames())
@settings(deadline=None, max_examples=20)
def test_reflection_and_perspective_commute(frames):
    planes = packing.pack_planes(frames)
    order = packing.perspective_order(1)
    assert (packing.mirror_planes(planes)[order] == packing.mirror_planes(planes[order])).all()


@given(strategies.frames())
@settings(deadline=None, max_examples=30)
def test_reflected_frames_are_sound(frames):
    planes = packing.mirror_planes(packing.pack_planes(frames))
    assert not SCHEMA.check(packing.unpack(np.ascontiguousarray(planes.T)))


@given(strategies.frames(min_frames=8))
@settings(deadline=None, max_examples=60)
def test_what_is_absent_keeps_its_bytes(frames):
    planes = packing.pack_planes(frames)
    mirrored = packing.mirror_planes(planes)
    noisy = packing.noisy_planes(mirrored, 1.0, np.random.default_rng(0))
    checked = 0
    for field in SCHEMA.fields:
        slot = packing.LAYOUT.slots[field.name]
        for after in (mirrored, noisy) if field.present else ():
            bytes_ = after[slot.offset : slot.stop].reshape(slot.count, -1, len(frames))
            absent = frames[field.present].T == 0
            assert not bytes_.transpose(0, 2, 1)[absent].any(), field.name
            checked += 1
    assert checked > 40


def test_a_column_of_zeros_keeps_its_bytes():
    """As of a version or a stage that lacks it: a zero has no side."""
    planes = packing.pack_planes(Frames(SCHEMA.empty(5)))
    slots = packing.LAYOUT.slots
    changed = np.flatnonzero((packing.mirror_planes(planes) != planes).any(axis=1))
    facing = slots["p.facing"]
    assert set(changed) == set(range(facing.offset, facing.stop))


def test_layout_covers_the_row_once():
    spans = sorted((slot.offset, slot.stop) for slot in packing.LAYOUT.slots.values())
    assert spans[0][0] == 0 and spans[-1][1] == packing.ROW_BYTES
    assert all(before[1] == after[0] for before, after in zip(spans, spans[1:], strict=False))
    for slot in packing.LAYOUT.slots.values():
        assert slot.offset % slot.dtype.itemsize == 0 or slot.dtype.itemsize == 1, slot.field.name
        assert (slot.offset < packing.NOISE_BYTES) == (slot.field.noise > 0), slot.field.name


def test_noise_touches_only_noised_fields_and_stays_legal():
    frames = strategies.make_frames(seed=3, num_frames=800, extremes=0.0, on_grid=True)
    planes = packing.pack_planes(frames)
    noisy = packing.noisy_planes(planes, 0.01, np.random.default_rng(1))
    again = packing.noisy_planes(planes, 0.01, np.random.default_rng(1))
    assert (noisy == again).all()
    back = packing.unpack(np.ascontiguousarray(noisy.T))
    for field in SCHEMA.fields:
        change = back[field.name].astype(np.float64) - frames[field.name]
        absent = frames["absent"] & SCHEMA.absent_bit(field) != 0
        assert not change[absent].any(), field.name
        change = change[~absent]
        if not field.noise:
            assert not change.any(), field.name
        else:
            # 800 draws: the sample deviation is within 12 % of σ with overwhelming odds.
            assert abs(change.std() / (0.01 * field.noise) - 1) < 0.12, field.name
    zero = Frames(SCHEMA.empty(200))
    noisy = packing.noisy_planes(packing.pack_planes(zero), 1.0, np.random.default_rng(1))
    assert packing.unpack(np.ascontiguousarray(noisy.T))["p.percent"].min() == 0


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, packing.ROW_BYTES - 1), np.uint8),
        np.zeros((2, packing.ROW_BYTES), np.int32),
        np.zeros(packing.ROW_BYTES, np.uint8),
    ],
)
def test_unpack_refuses_rows_of_another_width(rows):
    with pytest.raises(ValueError, match=r"rows: want uint8 \[time, \d+\]\. Received"):
        packing.unpack(rows)

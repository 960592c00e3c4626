"""Item slots: the whole-replay rule equals the frame-by-frame rule, and both keep their
promises."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from exphil_tf.features.item_slots import Items, SlotTracker, assign_slots, item_columns
from exphil_tf.features.schema import ITEM_SLOTS

LIVES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 25)), max_size=25)
"""(first frame, number of frames) of items; the spawn id is the position."""


def _updates(lives: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    entries = [
        (row, item)
        for item, (start, length) in enumerate(lives)
        for row in range(start, start + length)
    ]
    entries.sort(key=lambda entry: (entry[0], -entry[1]))
    pairs = np.array(entries, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@given(LIVES)
@settings(max_examples=200, deadline=None)
def test_whole_replay_equals_frame_by_frame(lives: list[tuple[int, int]]) -> None:
    row, spawn_id = _updates(lives)
    slots = assign_slots(row, spawn_id)
    tracker = SlotTracker()
    for frame in range(int(row.max()) + 2 if len(row) else 0):
        here = row == frame
        assert tracker.step(spawn_id[here].tolist()) == slots[here].tolist()


@given(LIVES)
@settings(max_examples=100, deadline=None)
def test_slots_are_stable_unique_and_never_idle(lives: list[tuple[int, int]]) -> None:
    row, spawn_id = _updates(lives)
    slots = assign_slots(row, spawn_id)
    for item in set(spawn_id.tolist()):
        held = slots[spawn_id == item]
        seen = held[held >= 0]
        assert len(set(seen.tolist())) <= 1, "an item never moves"
        assert (held[np.argmax(held >= 0) :] >= 0).all() or not len(seen), (
            "nor disappears while it lives"
        )
    for frame in set(row.tolist()):
        here = slots[row == frame]
        seen = here[here >= 0]
        assert len(set(seen.tolist())) == len(seen) == min(ITEM_SLOTS, len(here))


def test_waiting_items_come_in_by_age() -> None:
    row, spawn_id = _updates([(0, 3), (0, 9), (0, 9), (0, 9), (0, 9), (1, 9), (2, 9)])
    slots = assign_slots(row, spawn_id)
    by_item: dict[int, dict[int, int]] = {item: {} for item in range(7)}
    for frame, item, slot in zip(row.tolist(), spawn_id.tolist(), slots.tolist(), strict=True):
        by_item[item][frame] = slot
    assert by_item[0] == {0: 0, 1: 0, 2: 0}
    assert [by_item[5][frame] for frame in (1, 2, 3)] == [-1, -1, 0]
    assert [by_item[6][frame] for frame in (8, 9)] == [-1, 1]


def test_columns_owner_bits_and_duplicates() -> None:
    zeros = np.zeros(4)
    items = Items(
        row=np.array([0, 0, 1, 1]), spawn_id=np.array([9, 4, 9, 9]), type=np.array([54, 55, 54,
        54]),
        state=np.array([1, 2, 3, 99]), timer=np.array([35.9, np.nan, 1e9, 0.0]), x=np.array([1.0,
        2, 3, 4]),
        y=zeros, speed_x=zeros, speed_y=zeros, owner=np.array([0, 3, 0, 0]),
    )  # fmt: skip
    columns = item_columns(items, 3, [0, 3])
    assert columns["i.type"][0].tolist() == [55, 54, 0, 0, 0]
    assert columns["p.items_owned"].tolist() == [[0b10, 0b01], [0b10, 0], [0, 0]]
    assert columns["i.timer"][0].tolist() == [0, 35, 0, 0, 0] and columns["i.timer"][1, 1] == 32767
    assert columns["i.state"][1, 1] == 3, "of two updates of one item in a frame the first counts"
    assert columns["i.exists"].sum() == 3

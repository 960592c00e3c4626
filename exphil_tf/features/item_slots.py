"""Items and projectiles in stable slots.

A game shows a list of items per frame, ordered by the engine's whim. The network wants the same
item in the same place for its whole life. Rule: when an item appears it takes the lowest free slot;
with all slots taken it waits, unseen, and of those waiting the lowest spawn id takes the next slot
that frees; a slot frees on the first frame without its item. So the oldest items stay and a crowd
never reshuffles them. The rule looks only backwards: `SlotTracker` and `ItemTracker` apply it to a
live game frame by frame, `assign_slots` and `item_columns` to a whole replay at once (the loop is
per item, not per frame).

What a player holds (`p.held_item`, `p.held_frames`) is told of all items, those that wait included.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from exphil_tf.features.schema import ITEM_SLOTS, PLAYERS
from exphil_tf.melee import specials
from exphil_tf.melee.specials import Held

OWNED = "p.items_owned"
"""The column that says whose the items are."""
HELD, HELD_FRAMES = "p.held_item", "p.held_frames"
"""The columns that say what is in a hand, and when it goes off there."""
_INT16_MAX = 32767


class Items(NamedTuple):
    """Item updates in any order, one entry each.

    Attributes:
      row: int64, index of the frame.
      spawn_id: int64, the same for an item's whole life.
      type, state, x, y, speed_x, speed_y: as the schema's `i.*`.
      timer: float frames, truncated here.
      owner: int64, port 0 to 3, or -1 for nobody.
    """

    row: np.ndarray
    spawn_id: np.ndarray
    type: np.ndarray
    state: np.ndarray
    timer: np.ndarray
    x: np.ndarray
    y: np.ndarray
    speed_x: np.ndarray
    speed_y: np.ndarray
    owner: np.ndarray


NO_ITEMS = Items(*[np.zeros(0, np.int64)] * len(Items._fields))


def item_columns(items: Items, num_frames: int, ports: Sequence[int]) -> dict[str, np.ndarray]:
    """The schema's `i.*` columns `[frames, items]`, and what players own and hold.

    The latter are `p.items_owned`, `p.held_item` and `p.held_frames` `[frames, players]`.

    Args:
      items: all updates; more than fit are dropped by the slot rule.
      num_frames: length of the columns.
      ports: the two players' ports, 0 to 3, ascending.
    """
    slot = assign_slots(items.row, items.spawn_id)
    return _fill(items, slot, num_frames, ports=ports)


def _fill(
    items: Items, slot: np.ndarray, num_frames: int, *, ports: Sequence[int]
) -> dict[str, np.ndarray]:
    """The columns of items in the given slots int64 `[updates]`; -1 is not seen."""
    shape = (num_frames, ITEM_SLOTS)
    columns = {
        "i.x": np.zeros(shape, np.float32), "i.y": np.zeros(shape, np.float32),
        "i.speed_x": np.zeros(shape, np.float32), "i.speed_y": np.zeros(shape, np.float32),
        "i.type": np.zeros(shape, np.uint16), "i.timer": np.zeros(shape, np.int16),
        "i.exists": np.zeros(shape, np.uint8), "i.state": np.zeros(shape, np.uint8),
        OWNED: np.zeros((num_frames, PLAYERS), np.uint8),
        HELD: np.zeros((num_frames, PLAYERS), np.uint8),
        HELD_FRAMES: np.zeros((num_frames, PLAYERS), np.int16),
    }  # fmt: skip
    if not len(items.row):
        return columns
    _put_held(columns, items, ports=ports)
    kept = slot >= 0
    where = (items.row[kept], slot[kept])
    for name in ("x", "y", "speed_x", "speed_y", "type", "state"):
        columns[f"i.{name}"][where] = getattr(items, name)[kept]
    columns["i.timer"][where] = np.clip(np.nan_to_num(items.timer[kept]), -1, _INT16_MAX)
    columns["i.exists"][where] = 1
    for player, port in enumerate(ports):
        mine = items.owner[kept] == port
        bits = np.left_shift(1, where[1][mine]).astype(np.uint8)
        np.bitwise_or.at(columns[OWNED][:, player], where[0][mine], bits)
    return columns


def _put_held(columns: dict[str, np.ndarray], items: Items, *, ports: Sequence[int]) -> None:
    """Fills the columns of what is in a hand, from the kinds and states of all items."""
    kind = np.minimum(items.type, specials.HELD_TYPES - 1).astype(np.int64)
    state = np.minimum(items.state, specials.HELD_STATES - 1).astype(np.int64)
    held = specials.held_table()[kind * specials.HELD_STATES + state]
    if not held.any():
        return
    for player, port in enumerate(ports):
        mine = (held > 0) & (items.owner == port)
        columns[HELD][items.row[mine], player] = held[mine]
        timer = np.clip(np.nan_to_num(items.timer[mine]), 0, _INT16_MAX)
        columns[HELD_FRAMES][items.row[mine], player] = np.where(held[mine] == Held.BOMB, timer, 0)


def assign_slots(row: np.ndarray, spawn_id: np.ndarray, num_slots: int = ITEM_SLOTS) -> np.ndarray:
    """Slot of each update, int64 `[updates]`; -1 while the item waits, and for duplicates.

    Args:
      row: int64 `[updates]`, frame index.
      spawn_id: int64 `[updates]`.
      num_slots: how many items are seen at once.
    """
    slots = np.full(len(row), -1, np.int64)
    if not len(row):
        return slots
    order = np.lexsort((row, spawn_id))
    rows, ids = row[order], spawn_id[order]
    duplicate = np.zeros(len(rows), bool)
    duplicate[1:] = (ids[1:] == ids[:-1]) & (rows[1:] == rows[:-1])
    begins = np.ones(len(rows), bool)
    begins[1:] = (ids[1:] != ids[:-1]) | (rows[1:] > rows[:-1] + 1)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(rows)) - 1
    since, slot = _seat(rows[first], rows[last], ids[first], num_slots=num_slots)
    life = np.cumsum(begins) - 1
    seen = (rows >= since[life]) & ~duplicate
    slots[order] = np.where(seen, slot[life], -1)
    return slots


def _seat(
    first: np.ndarray, last: np.ndarray, ids: np.ndarray, *, num_slots: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per life (an item's consecutive frames): since when it has a slot, and which (-1: never)."""
    since = np.full(len(first), np.iinfo(np.int64).max)
    slot = np.full(len(first), -1, np.int64)
    lasts = last.tolist()
    queue = list(zip(first.tolist(), ids.tolist(), range(len(first)), strict=True))
    heapq.heapify(queue)
    busy_until = [-1] * num_slots
    while queue:
        now, spawn_id, life = heapq.heappop(queue)
        free = next((index for index, until in enumerate(busy_until) if until < now), None)
        if free is not None:
            busy_until[free] = lasts[life]
            since[life], slot[life] = now, free
        elif (again := min(busy_until) + 1) <= lasts[life]:
            heapq.heappush(queue, (again, spawn_id, life))
    return since, slot


class SlotTracker:
    """The slot rule for a live game; one instance per game."""

    def __init__(self, num_slots: int = ITEM_SLOTS) -> None:
        self._occupants: list[int | None] = [None] * num_slots

    def step(self, spawn_ids: Sequence[int]) -> list[int]:
        """Slot of each item present in the next frame, -1 for those that wait and for repeats."""
        present = set(spawn_ids)
        self._occupants = [item if item in present else None for item in self._occupants]
        for item in sorted(present.difference(self._occupants)):
            if None in self._occupants:
                self._occupants[self._occupants.index(None)] = item
        slots = {item: slot for slot, item in enumerate(self._occupants) if item is not None}
        return [slots.pop(item, -1) for item in spawn_ids]


class ItemTracker:
    """The items of a live game as the schema's columns, a frame at a time; one instance per game.

    Args:
      ports: the two players' ports, 0 to 3, in the order of the columns.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports, self._slots = ports, SlotTracker()
        self._none = self._columns(NO_ITEMS, [])

    def step(self, items: Items) -> dict[str, np.ndarray]:
        """Columns of the next frame, as those of `item_columns` without the frames' axis.

        They are not to be written to.

        Args:
          items: those present, each with row 0.
        """
        slots = self._slots.step(items.spawn_id.tolist())
        return self._columns(items, slots) if slots else self._none

    def _columns(self, items: Items, slots: Sequence[int]) -> dict[str, np.ndarray]:
        columns = _fill(items, np.array(slots, np.int64), 1, ports=self._ports)
        return {name: column[0] for name, column in columns.items()}


class ItemTrackers:
    """The items of live games that come and go, each in a row of its own.

    Args:
      rows: games that are kept.
    """

    def __init__(self, rows: int) -> None:
        self._slots = [SlotTracker() for _ in range(rows)]
        self._is_empty = np.ones(rows, bool)

    def step(self, items: Items, rows: np.ndarray, *, begins: np.ndarray) -> dict[str, np.ndarray]:
        """Columns `[batch, …]` of the next frame of some games, as those of `item_columns`.

        Args:
          items: those present; `row` is the game's index in the batch, `owner` its player, 0 or 1.
          rows: int `[batch]`: where each game is kept.
          begins: bool `[batch]`: it is the game's first frame.
        """
        for row in rows[begins].tolist():
            self._slots[row] = SlotTracker()
        present = np.bincount(items.row, minlength=len(rows))
        slot = np.full(len(items.row), -1, np.int64)
        for index in np.flatnonzero((present > 0) | ~self._is_empty[rows]).tolist():
            where = np.flatnonzero(items.row == index)
            tracker = self._slots[int(rows[index])]
            slot[where] = tracker.step(items.spawn_id[where].tolist())
        self._is_empty[rows] = present == 0
        return _fill(items, slot, len(rows), ports=(0, 1))

"""A left-right reflection as arithmetic on the bytes of packed rows.

A reflected row holds at byte i the reflected value of byte `order[i]`: fields that change places
move, and about a twentieth of a row's bytes (`changed`) take another value. Which ones and how
follows from the schema alone:

* a float that negates loses or gains its sign bit, unless it is zero. A zero has no side, so that
  whatever a game lacks (a second climber, an item, a column of an old version) keeps its bytes;
* a flag that flips does so where its thing is there: `value ^ present`;
* a small integer negates by two's complement;
* an action that names a side becomes that of the other side, by character. Partners differ in the
  low byte only, so one look-up gives the bits to flip. Where libmelee counts one of the two from 0
  and the other from 1, the action's frame is shifted.

Each rule is its own inverse, so two reflections are none. The same code serves numpy and graphs;
`exphil_tf.features.viewpoint` does the same to typed columns, and tests hold the two together. A
constant mask per byte was dropped: it cannot tell what is there from what is not.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.features.field import Mirror
from exphil_tf.features.layout import Layout, Slot
from exphil_tf.melee.enums import ACTION_COUNT, mirrored_actions, zero_index_table

SIDED_IDS, SIDED_CHARACTERS = 1024, 32
"""Sizes of the look-up: action ids, of the characters who have sided moves of their own."""
_HIGH_ACTIONS = SIDED_IDS // 256


class Backend(NamedTuple):
    """The operations on byte planes that differ between numpy and graphs."""

    take: Callable[[np.ndarray], Any]
    """The planes at some byte positions."""
    join: Callable[[list[Any]], Any]
    """Planes behind one another."""
    look_up: Callable[[np.ndarray, Any], Any]
    """Entries of a table `[n]` at int32 indices."""
    cast: Callable[[Any, str], Any]


@dataclass(frozen=True)
class _Positions:
    """Byte positions of each rule, int `[bytes]`."""

    floats: np.ndarray
    """Highest bytes of floats that negate."""
    flags: np.ndarray
    """Flags that always flip."""
    gated: np.ndarray
    """Flags that flip where their thing is there."""
    gates: np.ndarray
    """The flags that say so."""
    integers: np.ndarray
    actions: np.ndarray
    """Low bytes of action ids."""
    characters: np.ndarray
    """Whose action it is."""
    counts: np.ndarray
    """Low bytes of action frames."""
    counted: np.ndarray
    """Low bytes of the actions whose frames they are."""
    counters: np.ndarray
    """Whose action it is."""


class Reflection:
    """The reflection of rows of one layout.

    Args:
      layout: where fields lie.

    Raises: ValueError: if a field's rule does not fit its layout.
    """

    def __init__(self, layout: Layout):
        slots = layout.slots
        self._at = at = _positions(slots)
        self.changed = np.concatenate(
            [at.floats, at.flags, at.gated, at.integers, at.actions, at.counts, at.counts + 1]
        )
        """int `[bytes]`: positions whose value, not only place, a reflection changes."""
        self.order = np.arange(layout.row_bytes, dtype=np.int32)
        """int32 `[row_bytes]`: where the byte at each position comes from."""
        for slot in slots.values():
            if slot.field.mirror is Mirror.SWAP:
                partner = slots[slot.field.mirror_with]
                self.order[slot.offset : slot.stop] = np.arange(partner.offset, partner.stop)

    @property
    def moved(self) -> np.ndarray:
        """Positions whose byte comes from elsewhere, none of `changed`: int `[bytes]`."""
        return np.flatnonzero(self.order != np.arange(len(self.order)))

    def values(self, xp: Backend) -> Any:
        """The reflected planes of `changed`, in its order."""
        at, take = self._at, xp.take
        tops = take(at.floats)
        # Doubling drops the sign bit: what remains of a zero is nothing.
        rest = take(at.floats - 3) | take(at.floats - 2) | take(at.floats - 1) | (tops + tops)
        sides, _ = action_tables()
        return xp.join(
            [
                tops ^ (xp.cast(rest != 0, "uint8") * np.uint8(0x80)),
                take(at.flags) ^ np.uint8(1),
                take(at.gated) ^ take(at.gates),
                (take(at.integers) ^ np.uint8(0xFF)) + np.uint8(1),
                take(at.actions) ^ xp.look_up(sides, _index(xp, at.actions, at.characters)),
                *self._counts(xp),
            ]
        )

    def _counts(self, xp: Backend) -> tuple[Any, Any]:
        """Low and high bytes of the action frames."""
        at = self._at
        low, high = (xp.cast(xp.take(part), "int32") for part in (at.counts, at.counts + 1))
        _, shifts = action_tables()
        count = high * 256 + low + xp.look_up(shifts, _index(xp, at.counted, at.counters))
        return xp.cast(count % 256, "uint8"), xp.cast(count // 256 % 256, "uint8")


def _index(xp: Backend, actions: np.ndarray, characters: np.ndarray) -> Any:
    """Where `action_tables` hold the actions whose low bytes lie at `actions`."""
    parts = (
        xp.take(characters) & np.uint8(SIDED_CHARACTERS - 1),
        xp.take(actions + 1) & np.uint8(_HIGH_ACTIONS - 1),
        xp.take(actions),
    )
    character, high, low = (xp.cast(part, "int32") for part in parts)
    return (character * _HIGH_ACTIONS + high) * 256 + low


@functools.cache
def action_tables() -> tuple[np.ndarray, np.ndarray]:
    """By character and action: bits of the low byte to flip, and what to add to its frame.

    uint8 and int32 `[SIDED_CHARACTERS * SIDED_IDS]`. Read on first use: the second needs libmelee's
    files.
    """
    mirrored, starts_at_0 = (
        table[:SIDED_CHARACTERS] for table in (mirrored_actions(), zero_index_table())
    )
    bits = mirrored ^ np.arange(ACTION_COUNT)
    if bits.max() >= 256:  # a byte
        raise ValueError("reflection: want partners that differ in the low byte only")
    shifts = np.take_along_axis(starts_at_0, mirrored, 1).astype(np.int32) - starts_at_0
    beyond = ((0, 0), (0, SIDED_IDS - ACTION_COUNT))
    return np.pad(bits.astype(np.uint8), beyond).ravel(), np.pad(shifts, beyond).ravel()


def _positions(slots: Mapping[str, Slot]) -> _Positions:
    places: dict[str, list[np.ndarray]] = {
        name: [np.zeros(0, int)] for name in _Positions.__dataclass_fields__
    }
    for slot in slots.values():
        for name, at in _rule(slot, slots).items():
            places[name].append(at)
    return _Positions(**{name: np.concatenate(parts) for name, parts in places.items()})


def _rule(slot: Slot, slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """Byte positions that a field adds to each list of `_Positions`."""
    field, at = slot.field, _bytes(slot)
    match field.mirror:
        case Mirror.FLIP if field.present:
            return {"gated": at, "gates": _bytes(slots[field.present])}
        case Mirror.FLIP:
            return {"flags": at}
        case Mirror.SIDES:
            return {"actions": at[::2], "characters": _bytes(slots[field.mirror_with])}
        case Mirror.COUNT:
            action = slots[field.mirror_with]
            owner = slots[action.field.mirror_with]
            return {"counts": at[::2], "counted": _bytes(action)[::2], "counters": _bytes(owner)}
        case Mirror.NEGATE:
            return _negation(slot, at)
        case _:
            return {}


def _negation(slot: Slot, at: np.ndarray) -> dict[str, np.ndarray]:
    if slot.dtype == np.dtype("<f4"):
        return {"floats": at[3::4]}
    if slot.dtype == np.dtype("i1"):
        return {"integers": at}
    raise ValueError(f"schema.{slot.field.name}: {slot.dtype} cannot be negated bytewise")


def _bytes(slot: Slot) -> np.ndarray:
    return np.arange(slot.offset, slot.stop)

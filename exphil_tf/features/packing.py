"""A frame as a row of bytes.

This is what records store, what the input pipeline moves and what the model unpacks. A row holds
both players once. Fields lie field by field, grouped by width: noised floats first (so that noise
touches one contiguous span), then other floats, int32, 16-bit, 8-bit; players of one field lie side
by side. Because of that

* unpacking is one reinterpretation per dtype, not one per field;
* taking the other player's perspective is a permutation of bytes (`perspective_order`);
* a left-right reflection is arithmetic on single bytes (`exphil_tf.features.reflection`).

The same tables serve numpy (preprocessing, live play) and graphs (training). A typed record per
frame was dropped: three gathers per batch cost 2.5 times one gather of bytes (docs/architecture.md,
"Records and input").
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exphil_tf.features.layout import STORED_DTYPES, lay_out
from exphil_tf.features.reflection import Backend, Reflection
from exphil_tf.features.schema import PLAYERS, SCHEMA, SHAPES, Field, Group, Store
from exphil_tf.melee.controls import STICK_STEPS, TRIGGER_STEPS
from exphil_tf.melee.types import Frames

LAYOUT = lay_out(SCHEMA)
ROW_BYTES = LAYOUT.row_bytes
NOISE_BYTES = LAYOUT.noise_bytes
REFLECTION = Reflection(LAYOUT)
"""The left-right reflection of a row."""
CONTROLLER_FIELDS = SCHEMA.group(Group.CONTROLLER)
ACTION_BYTES = len(CONTROLLER_FIELDS)
"""Bytes of one player's controller: one per controller field, in schema order."""


def _per_noised_value(rule: Callable[[Field], float]) -> np.ndarray:
    """float32 `[NOISE_BYTES / 4]`: a rule of the field that each noised value belongs to."""
    values = np.zeros(NOISE_BYTES // 4, np.float32)
    for slot in LAYOUT.slots.values():
        if slot.field.noise:
            values[slot.offset // 4 : slot.stop // 4] = rule(slot.field)
    return values


@functools.cache
def noise_scales() -> np.ndarray:
    """float32 `[NOISE_BYTES / 4]`: σ of each noised value in multiples of `noise_scale`."""
    return _per_noised_value(lambda field: field.noise)


@functools.cache
def noise_floors() -> np.ndarray:
    """float32 `[NOISE_BYTES / 4]`: lowest legal value of each noised value (percent stays ≥ 0)."""
    return _per_noised_value(lambda field: field.low)


@functools.cache
def noise_bits() -> np.ndarray:
    """uint8 `[NOISE_BYTES / 4]`: the bit of `absent` under which each value is not noised."""
    return _per_noised_value(SCHEMA.absent_bit).astype(np.uint8)


@functools.cache
def perspective_order(own: int) -> np.ndarray:
    """int32 `[ROW_BYTES]`: `row[..., order]` puts player `own` first in every per-player field."""
    order = np.arange(ROW_BYTES, dtype=np.int32)
    if own:
        for slot in LAYOUT.slots.values():
            if SHAPES[slot.field.group] == (PLAYERS,):
                order[slot.offset : slot.stop] = np.roll(
                    order[slot.offset : slot.stop], slot.dtype.itemsize
                )
    return order


@functools.cache
def action_order(player: int) -> np.ndarray:
    """int32 `[ACTION_BYTES]`: byte positions of `player`'s controller in a row."""
    return np.array([LAYOUT.slots[f.name].offset + player for f in CONTROLLER_FIELDS], np.int32)


def _to_stored(column: np.ndarray, field: Field) -> np.ndarray:
    if field.store is Store.STICK:
        return np.rint(np.clip(column, -1, 1) * STICK_STEPS).astype(np.int8)
    if field.store is Store.TRIGGER:
        return np.rint(np.clip(column, 0, 1) * TRIGGER_STEPS).astype(np.uint8)
    return np.ascontiguousarray(column, STORED_DTYPES[field.store])


def from_stored(stored: np.ndarray, field: Field) -> np.ndarray:
    """Stored values back in natural units, in the column's dtype.

    Exact for values on the game's own grid.
    """
    if field.store is Store.STICK:
        return stored.astype(np.float32) / np.float32(STICK_STEPS)
    if field.store is Store.TRIGGER:
        return stored.astype(np.float32) / np.float32(TRIGGER_STEPS)
    return stored.astype(field.dtype)


def pack_planes(frames: Frames) -> np.ndarray:
    """uint8 `[ROW_BYTES, time]`: packed rows, transposed to one plane per byte.

    One plane per byte compresses best. Sticks are rounded to 1/80 and triggers to 1/140; both are
    exact for human ports (CPU ports use another grid).
    """
    planes = np.empty((ROW_BYTES, len(frames)), np.uint8)
    for slot in LAYOUT.slots.values():
        stored = _to_stored(frames[slot.field.name], slot.field).reshape(len(frames), slot.count)
        as_bytes = stored.view(np.uint8).reshape(len(frames), slot.num_bytes)
        planes[slot.offset : slot.stop] = as_bytes.T
    return planes


def pack(frames: Frames) -> np.ndarray:
    """uint8 `[time, ROW_BYTES]`: packed rows; see `pack_planes`."""
    return np.ascontiguousarray(pack_planes(frames).T)


def unpack(rows: np.ndarray) -> Frames:
    """The frames of packed rows uint8 `[time, ROW_BYTES]`.

    The inverse of `pack` up to the stick and trigger grid.

    Raises:
      ValueError: if the row width is not this schema's.
    """
    if rows.ndim != 2 or rows.shape[1] != ROW_BYTES or rows.dtype != np.uint8:
        raise ValueError(
            f"rows: want uint8 [time, {ROW_BYTES}]. Received: {rows.dtype}{list(rows.shape)}"
        )
    return Frames({field.name: unpack_column(rows, field.name) for field in SCHEMA.fields})


def unpack_column(rows: np.ndarray, name: str) -> np.ndarray:
    """One column of packed rows uint8 `[time, ROW_BYTES]`."""
    slot = LAYOUT.slots[name]
    stored = np.ascontiguousarray(rows[:, slot.offset : slot.stop]).view(slot.dtype)
    return from_stored(stored.reshape(len(rows), *slot.field.shape), slot.field)


@dataclass(frozen=True)
class Replaced:
    """What a variant changes of a game's planes; the rest it shares with the original."""

    index: np.ndarray
    """int `[planes]`: which planes."""
    planes: np.ndarray
    """uint8 `[planes, time]`: what stands there instead."""

    def apply(self, planes: np.ndarray) -> np.ndarray:
        """The variant's planes, uint8 `[ROW_BYTES, time]`."""
        changed = planes.copy()
        changed[self.index] = self.planes
        return changed


def mirror(planes: np.ndarray) -> Replaced:
    """Left-right reflection of byte planes uint8 `[ROW_BYTES, time]`."""
    backend = Backend(
        take=planes.__getitem__, join=np.concatenate, look_up=np.take, cast=np.asarray
    )
    moved = REFLECTION.moved
    return Replaced(
        np.concatenate([REFLECTION.changed, moved]),
        np.concatenate([REFLECTION.values(backend), planes[REFLECTION.order[moved]]]),
    )


def mirror_planes(planes: np.ndarray) -> np.ndarray:
    """Left-right reflection of byte planes uint8 `[ROW_BYTES, time]`; an involution."""
    return mirror(planes).apply(planes)


def noise(planes: np.ndarray, noise_scale: float, rng: np.random.Generator) -> Replaced:
    """Gaussian noise on byte planes uint8 `[ROW_BYTES, time]`.

    σ = `noise_scale` × the field's rule; columns that the replay did not record stay as they are.
    """
    values = np.ascontiguousarray(planes[:NOISE_BYTES].T).view("<f4")
    noised = values + rng.standard_normal(values.shape, np.float32) * (
        noise_scales() * np.float32(noise_scale)
    )
    absent = planes[LAYOUT.slots["absent"].offset][:, None] & noise_bits()
    values = np.where(absent, values, np.maximum(noised, noise_floors())).astype("<f4")
    return Replaced(np.arange(NOISE_BYTES), values.view(np.uint8).T)


def noisy_planes(planes: np.ndarray, noise_scale: float, rng: np.random.Generator) -> np.ndarray:
    """Byte planes uint8 `[ROW_BYTES, time]` with Gaussian noise.

    σ = `noise_scale` × the field's rule.
    """
    return noise(planes, noise_scale, rng).apply(planes)

"""Packed rows back into typed columns inside a graph: the first op of the jitted training step.

Fields of one width lie together (`exphil_tf.features.packing`), so there is one bitcast per dtype
and the rest are slices, which XLA fuses away.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from exphil_tf.features.layout import STORED_DTYPES, Slot
from exphil_tf.features.packing import CONTROLLER_FIELDS, LAYOUT, ROW_BYTES, from_stored
from exphil_tf.features.schema import Field, Store


def _runs() -> list[list[Slot]]:
    """Slots in row order, split where the stored dtype changes."""
    runs: list[list[Slot]] = []
    for slot in sorted(LAYOUT.slots.values(), key=lambda slot: slot.offset):
        if not runs or runs[-1][-1].dtype != slot.dtype:
            runs.append([])
        runs[-1].append(slot)
    return runs


def _natural(stored: tf.Tensor, field: Field) -> tf.Tensor:
    """Stored values in natural units, as `packing.from_stored`.

    Sticks and triggers are looked up: graphs turn a division by a constant into a product with its
    rounded inverse, which would make a stick of training differ from that of play in its last bit.
    """
    if field.store not in (Store.STICK, Store.TRIGGER):
        return stored
    every = np.arange(256, dtype=np.uint8).view(STORED_DTYPES[field.store])
    index = tf.cast(tf.bitcast(stored, tf.uint8), tf.int32)
    return tf.gather(from_stored(every, field), index)


@tf.autograph.experimental.do_not_convert
def unpack_state(state: Any) -> dict[str, tf.Tensor]:
    """Typed columns in natural units: `packing.unpack` for graphs, equal to it bit for bit.

    Args:
      state: uint8 `[..., ROW_BYTES]`.

    Returns: name → `[..., *field.shape]` in the field's dtype; per-player columns are `[...,
    own/opponent]`.

    Raises:
      ValueError: if the last axis is not a row.
    """
    if state.shape[-1] != ROW_BYTES:
        raise ValueError(
            f"state: want uint8 [..., {ROW_BYTES}]. Received: {state.dtype} {state.shape}"
        )
    lead = (
        tf.shape(state)[:-1] if None in state.shape.as_list()[:-1] else state.shape.as_list()[:-1]
    )
    columns: dict[str, tf.Tensor] = {}
    for run in _runs():
        bytes_, width = state[..., run[0].offset : run[-1].stop], run[0].dtype.itemsize
        if width > 1:
            bytes_ = tf.reshape(bytes_, tf.concat([lead, [-1, width]], 0))
        stored = tf.bitcast(bytes_, tf.as_dtype(run[0].dtype.newbyteorder("=")))
        for slot in run:
            begin = (slot.offset - run[0].offset) // width
            values = (
                stored[..., begin : begin + slot.count] if slot.field.shape else stored[..., begin]
            )
            columns[slot.field.name] = _natural(values, slot.field)
    return {name: columns[name] for name in LAYOUT.slots}


@tf.autograph.experimental.do_not_convert
def unpack_columns(state: Any, names: Iterable[str]) -> dict[str, tf.Tensor]:
    """Some columns of `unpack_state`, without touching the others."""
    columns: dict[str, tf.Tensor] = {}
    for name in names:
        slot = LAYOUT.slots[name]
        stored, width = state[..., slot.offset : slot.stop], slot.dtype.itemsize
        if width > 1:
            shape = tf.concat([tf.shape(stored)[:-1], [slot.count, width]], 0)
            stored = tf.reshape(stored, shape)
        values = tf.bitcast(stored, tf.as_dtype(slot.dtype.newbyteorder("=")))
        values = tf.ensure_shape(values, [*state.shape[:-1], slot.count])
        columns[name] = _natural(values if slot.field.shape else values[..., 0], slot.field)
    return columns


@tf.autograph.experimental.do_not_convert
def unpack_actions(actions: Any) -> dict[str, tf.Tensor]:
    """One player's controller in natural units: `c.main_x` … `c.buttons`, each `[...]`.

    Args:
      actions: uint8 `[..., ACTION_BYTES]`.
    """
    columns: dict[str, tf.Tensor] = {}
    for index, field in enumerate(CONTROLLER_FIELDS):
        stored = tf.bitcast(actions[..., index], tf.as_dtype(LAYOUT.slots[field.name].dtype))
        columns[field.name] = _natural(stored, field)
    return columns

"""From where a frame is seen, on typed columns: whose eyes, and on which side of a mirror.

The same as `packing.perspective_order` and `packing.mirror` do to packed rows, for frames that are
not packed: a live game's, a simulator's. The rules come from the schema, the look-up of sided
actions from `reflection`; property tests hold both forms together over every column.

Columns are `[…, *field.shape]` with any leading axes: none (one frame), `[games]` or `[time]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from exphil_tf.features.field import PLAYERS, Field, Mirror
from exphil_tf.features.reflection import SIDED_CHARACTERS, SIDED_IDS, action_tables
from exphil_tf.features.schema import SCHEMA

Columns = Mapping[str, np.ndarray]
"""Every column of the schema by name."""
_PER_PLAYER = frozenset(field.name for field in SCHEMA.fields if field.shape == (PLAYERS,))
_MIRRORED = tuple(field for field in SCHEMA.fields if field.mirror is not Mirror.KEEP)


def take_perspective(columns: Columns, own: int) -> dict[str, np.ndarray]:
    """The frames as player `own` sees them: own first, then the opponent; its own inverse.

    Args:
      columns: with players in port order.
      own: 0 for the lower port, 1 for the higher.

    Returns: the columns; those that change are views.

    Raises: ValueError: if there is no such player.
    """
    if own not in (0, 1):
        raise ValueError(f"own: want player 0 or 1. Received: own={own}")
    if own == 0:
        return dict(columns)
    return {
        name: column[..., ::-1] if name in _PER_PLAYER else column
        for name, column in columns.items()
    }


def mirror_columns(columns: Columns) -> dict[str, np.ndarray]:
    """The left-right reflection of the frames; an involution.

    Raises: KeyError: if a column is missing.
    """
    mirrored = {field.name: _RULES[field.mirror](field, columns) for field in _MIRRORED}
    return {**columns, **mirrored}


def _negate(field: Field, columns: Columns) -> np.ndarray:
    column = columns[field.name]
    # A zero has no side and keeps its bits.
    return np.where(column, -column, column)


def _flip(field: Field, columns: Columns) -> np.ndarray:
    return columns[field.name] ^ (columns[field.present] if field.present else np.uint8(1))


def _swap(field: Field, columns: Columns) -> np.ndarray:
    return columns[field.mirror_with]


def _exchange_sides(field: Field, columns: Columns) -> np.ndarray:
    bits, _ = action_tables()
    return columns[field.name] ^ bits[_sided(field, columns)]


def _shift_count(field: Field, columns: Columns) -> np.ndarray:
    _, shifts = action_tables()
    count = columns[field.name] + shifts[_sided(SCHEMA.field(field.mirror_with), columns)]
    return count.astype(field.dtype)


def _sided(action: Field, columns: Columns) -> np.ndarray:
    """Where `action_tables` hold the actions of a column."""
    character = columns[action.mirror_with].astype(np.int32) & (SIDED_CHARACTERS - 1)
    return character * SIDED_IDS + (columns[action.name] & np.uint16(SIDED_IDS - 1))


_RULES: dict[Mirror, Callable[[Field, Columns], np.ndarray]] = {
    Mirror.NEGATE: _negate,
    Mirror.FLIP: _flip,
    Mirror.SWAP: _swap,
    Mirror.SIDES: _exchange_sides,
    Mirror.COUNT: _shift_count,
}

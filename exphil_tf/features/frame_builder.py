"""Columns of frames from whoever makes them: a live game, a simulator, a test.

A builder starts from nothing, takes values group by group, holds each against its field (name,
shape, type, bounds), and gives columns that mean what those of a replay mean. One builder makes one
set of columns: those of a frame, or of as many games or frames as `lead` says.

    builder = FrameBuilder()
    builder.put(Group.FRAME, {"frame": -39})
    builder.put(Group.PLAYER, {"percent": 12.5, ...}, player=0)
    builder.put_columns(stage_columns(stage, frame_id))
    builder.put_columns(tracker.step(builder.peek()))  # character_state, of what was put
    columns = builder.columns()

Filling arrays by hand was dropped: numpy wraps an id of 300 to 44 without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from exphil_tf.features.field import PLAYERS, Field, Group
from exphil_tf.features.item_slots import HELD, HELD_FRAMES, OWNED
from exphil_tf.features.schema import SCHEMA

_PREFIX = {
    Group.FRAME: "", Group.PLAYER: "p.", Group.NANA: "n.", Group.CONTROLLER: "c.",
    Group.ITEM: "i.", Group.STAGE: "s.",
}  # fmt: skip
_MAY_BE_MISSING = (Group.NANA, Group.ITEM)
"""Groups of things that are there or not; without a word they are not."""


class FrameBuilder:
    """Puts the schema's columns together.

    Args:
      lead: leading axes of the columns: none for one frame, `[games]` or `[time]`.
      lacks: columns that this source does not know. They are marked in `absent`, as a replay of an
        old version has them, and stay 0 unless they are put; derived is not known.

    Raises: ValueError: if a column lacks that every version of a replay records.
    """

    def __init__(self, lead: tuple[int, ...] = (), *, lacks: Collection[str] = ()):
        # One allocation; the columns are views of it.
        whole = np.zeros(lead, _FRAME)
        self._columns = {name: whole[name] for name in SCHEMA.names}
        self._put: set[str] = set()
        absent = 0
        for name in lacks:
            bit = SCHEMA.absent_bit((_RULES.get(name) or _unknown(name)).field)
            if not bit:
                raise ValueError(f"lacks: want columns that a version added. Received: {name!r}")
            absent |= bit
        self._columns["absent"][...] = self._absent = absent

    def put(self, group: Group, values: Mapping[str, Any], *, player: int | None = None) -> None:
        """Puts columns of a group.

        Args:
          group: of the columns.
          values: short name (`percent`) → numbers: one for all, or `[*lead, *field.shape]`,
            `[*lead]` with `player`. A Nana or an item that is put is there, unless `exists` says
            otherwise.
          player: whose they are, 0 or 1; None for both.

        Raises: ValueError: naming the column that is unknown, misshapen, of another type or out of
          bounds.
        """
        prefix = _PREFIX[group]
        self.put_columns({prefix + name: value for name, value in values.items()}, player=player)
        if group in _MAY_BE_MISSING and "exists" not in values:
            self.put_columns({f"{prefix}exists": 1}, player=player)

    def put_columns(self, values: Mapping[str, Any], *, player: int | None = None) -> None:
        """As `put`, by full name (`p.percent`)."""
        for name, value in values.items():
            rule = _RULES.get(name) or _unknown(name)
            target = self._columns[name]
            if player is not None:
                target = target[..., _seat(rule, player)]
            target[...] = _checked(rule, value, target.shape)
        self._put.update(values)

    def peek(self) -> Mapping[str, np.ndarray]:
        """The columns as they stand, for what is derived of them; what was not put is 0."""
        return self._columns

    def columns(self) -> dict[str, np.ndarray]:
        """The columns `[*lead, *field.shape]`, in schema order; what is not there is all zeros.

        Raises: ValueError: naming what was never put.
        """
        missing = [name for name in _REQUIRED if name not in self._put]
        missing = [n for n in missing if not SCHEMA.absent_bit(SCHEMA.field(n)) & self._absent]
        if missing:
            raise ValueError(f"columns: want {', '.join(missing)}. Received: {len(self._put)}")
        for name in self._put:
            if present := _RULES[name].field.present:
                self._columns[name][self._columns[present] == 0] = 0
        return self._columns


class _Rule(NamedTuple):
    """What a value is held against; looked up once, as a frame has a hundred values."""

    field: Field
    low: float
    high: float
    is_whole: bool
    is_per_player: bool


_RULES = {
    field.name: _Rule(
        field, field.low, field.high, field.dtype != "float32", field.shape == (PLAYERS,)
    )
    for field in SCHEMA.fields
}
_FEW = 16
"""Values that Python compares faster than numpy finds their bounds."""
_FRAME = np.dtype([(field.name, field.dtype, field.shape) for field in SCHEMA.fields], align=True)


def _unknown(name: str) -> _Rule:
    raise ValueError(f"columns: want a name of the schema. Received: {name!r:.60}")


def _seat(rule: _Rule, player: int) -> int:
    """The player's index in a column."""
    if not rule.is_per_player or player not in (0, 1):
        raise ValueError(
            f"{rule.field.name}: want a column of players and player 0 or 1. Received: {player}"
        )
    return player


def _checked(rule: _Rule, value: Any, shape: tuple[int, ...]) -> Any:
    """The value, fit to be cast to the field's type."""
    value = _plain(value)
    if isinstance(value, (int, float)):
        is_sound = rule.low <= value <= rule.high
        is_float = isinstance(value, float)
    else:
        value = np.asarray(value)
        if value.shape != shape or value.dtype.kind not in "buif":
            raise ValueError(
                f"{rule.field.name}: want numbers {list(shape)}. "
                f"Received: {value.dtype} {list(value.shape)}"
            )
        is_sound = _is_within(value, rule)
        is_float = value.dtype.kind == "f"
    if is_float and rule.is_whole:
        raise ValueError(f"{rule.field.name}: want whole numbers. Received: {value!r:.60}")
    if not is_sound:
        low, high = np.min(value), np.max(value)
        raise ValueError(
            f"{rule.field.name}: want {rule.low:g} to {rule.high:g} {rule.field.unit}. "
            f"Received: {low:g} to {high:g}"
        )
    return value


def _plain(value: Any) -> Any:
    """Numpy's scalars as Python's."""
    return cast(Any, value).item() if isinstance(value, np.generic) else value


def _is_within(values: np.ndarray, rule: _Rule) -> bool:
    """Whether each value is; a NaN is not."""
    if values.size <= _FEW:
        return all(rule.low <= value <= rule.high for value in values.ravel().tolist())
    return bool(rule.low <= values.min() and values.max() <= rule.high)


_REQUIRED = tuple(
    field.name
    for field in SCHEMA.fields
    if field.group not in _MAY_BE_MISSING and field.name not in ("absent", OWNED, HELD, HELD_FRAMES)
)
"""Columns that no frame is whole without."""

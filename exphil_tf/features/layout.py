"""Where each field lies in a packed row; `exphil_tf.features.packing` says why it lies so."""

import math
from dataclasses import dataclass

import numpy as np

from exphil_tf.features.schema import Field, Schema, Store

STORED_DTYPES: dict[Store, str] = {
    Store.F32: "<f4", Store.I32: "<i4", Store.U16: "<u2", Store.I16: "<i2",
    Store.U8: "u1", Store.I8: "i1", Store.STICK: "i1", Store.TRIGGER: "u1",
}  # fmt: skip
_WIDTH_ORDER = (
    Store.F32,
    Store.I32,
    Store.U16,
    Store.I16,
    Store.U8,
    Store.I8,
    Store.STICK,
    Store.TRIGGER,
)


@dataclass(frozen=True)
class Slot:
    """Where a field lies in a row."""

    offset: int
    field: Field

    @property
    def dtype(self) -> np.dtype:
        """Stored dtype, little-endian."""
        return np.dtype(STORED_DTYPES[self.field.store])

    @property
    def count(self) -> int:
        """Values per frame: 1, players or item slots."""
        return math.prod(self.field.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes per frame."""
        return self.dtype.itemsize * self.count

    @property
    def stop(self) -> int:
        """Offset behind the field."""
        return self.offset + self.num_bytes


def _packing_rank(field: Field) -> tuple[int, int]:
    return (0 if field.noise else 1, _WIDTH_ORDER.index(field.store))


@dataclass(frozen=True)
class Layout:
    """Byte layout of a schema's row."""

    slots: dict[str, Slot]
    row_bytes: int
    noise_bytes: int
    """The first `noise_bytes` of a row are the noised float32 values."""


def lay_out(schema: Schema) -> Layout:
    """Where each field of a schema lies."""
    slots: dict[str, Slot] = {}
    offset = 0
    for field in sorted(schema.fields, key=_packing_rank):
        slots[field.name] = Slot(offset, field)
        offset = slots[field.name].stop
    noise = max((slot.stop for slot in slots.values() if slot.field.noise), default=0)
    return Layout(slots, offset, noise)

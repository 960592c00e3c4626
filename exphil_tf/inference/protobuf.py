"""Strict reading of protocol buffers from elsewhere, against a table of what may occur.

A lenient reader and the library that reads the same bytes afterwards can be made to see different
things: of a field that is there twice, with another wire type, or unknown. So whatever a table does
not name is refused, and so is a field that should occur once and occurs twice. What is read is
bounded: nesting by the table, which has no cycle, and the number of fields by a budget, as one byte
of a file can cost a hundred of Python's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from exphil_tf.foundation.wire_format import (
    FIXED_32,
    LENGTH,
    VARINT,
    WireError,
    read_fields,
    read_varints,
)

Kind = Literal["int", "float", "text", "bytes", "ints", "floats"]
_WIRE = {"int": VARINT, "ints": VARINT, "float": FIXED_32, "floats": FIXED_32}


class Slot(NamedTuple):
    """A field of a message."""

    name: str
    kind: Kind | Message
    repeated: bool = False
    """`ints` and `floats` are by themselves."""


@dataclass(frozen=True)
class Message:
    """The fields of a message that may occur, by number; a text instead says why one may not."""

    name: str
    slots: Mapping[int, Slot | str]


@dataclass
class Reader:
    """Reads messages.

    Args:
      budget: fields and packed floats left to read, all messages together.
    """

    budget: int

    def read(self, message: Message, data: memoryview) -> dict[str, Any]:
        """Values by field name: repeated ones as lists, single ones only where they occur.

        Raises: WireError: if the bytes are no message of the kind, or it holds what it may not.
        """
        values: dict[str, Any] = {
            slot.name: []
            for slot in message.slots.values()
            if isinstance(slot, Slot) and (slot.repeated or slot.kind in ("ints", "floats"))
        }
        for number, wire, payload in read_fields(data):
            self._spend(1)
            slot = _slot(message, number)
            self._store(values, slot, wire=wire, payload=payload, message=message)
        return values

    def _store(
        self,
        values: dict[str, Any],
        slot: Slot,
        *,
        wire: int,
        payload: Any,
        message: Message,
    ) -> None:
        where = f"{message.name}.{slot.name}"
        if slot.kind in ("ints", "floats") and wire == LENGTH:
            values[slot.name] += self._packed(payload, is_float=slot.kind == "floats")
            return
        if wire != (_WIRE.get(slot.kind, LENGTH) if isinstance(slot.kind, str) else LENGTH):
            raise WireError(f"{where}: wire type {wire}")
        value = self._value(slot.kind, payload, where)
        if slot.repeated or slot.kind in ("ints", "floats"):
            values[slot.name].append(value)
        elif slot.name in values:
            raise WireError(f"{where}: want it once")
        else:
            values[slot.name] = value

    def _value(self, kind: Kind | Message, payload: Any, where: str) -> Any:
        if isinstance(kind, Message):
            return self.read(kind, payload)
        if kind == "text":
            try:
                return bytes(payload).decode()
            except UnicodeDecodeError as error:
                raise WireError(f"{where}: not UTF-8") from error
        if kind in ("float", "floats"):
            return struct.unpack("<f", payload)[0]
        return payload

    def _packed(self, payload: memoryview, *, is_float: bool) -> list[Any]:
        if is_float:
            if len(payload) % 4:
                raise WireError("packed floats cut short")
            self._spend(len(payload) // 4)
            return np.frombuffer(payload, "<f4").tolist()
        found: list[int] = []
        for value in read_varints(payload):
            self._spend(1)
            found.append(value)
        return found

    def _spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise WireError("more fields than are read of one file")


def _slot(message: Message, number: int) -> Slot:
    slot = message.slots.get(number, f"{message.name}: field {number} is not known")
    if isinstance(slot, str):
        raise WireError(slot)
    return slot

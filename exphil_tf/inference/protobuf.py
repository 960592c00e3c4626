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

Kind = Literal["int", "float", "text", "bytes", "ints", "floats"]
_WIRE = {"int": 0, "ints": 0, "float": 5, "floats": 5}
_LENGTH = 2
_SIZES = {1: 8, 5: 4}


class WireError(ValueError):
    """Bytes that are no message of the kind, or one that holds what it may not."""


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

        Raises: WireError: see the module.
        """
        values: dict[str, Any] = {
            slot.name: []
            for slot in message.slots.values()
            if isinstance(slot, Slot) and (slot.repeated or slot.kind in ("ints", "floats"))
        }
        place = 0
        while place < len(data):
            key, place = _varint(data, place)
            slot = _slot(message, key >> 3)
            payload, place = _payload(data, place, wire=key & 7)
            self._spend(1)
            self._store(values, slot, wire=key & 7, payload=payload, message=message)
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
        if slot.kind in ("ints", "floats") and wire == _LENGTH:
            values[slot.name] += self._packed(payload, is_float=slot.kind == "floats")
            return
        if wire != (_WIRE.get(slot.kind, _LENGTH) if isinstance(slot.kind, str) else _LENGTH):
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
        found, place = [], 0
        while place < len(payload):
            self._spend(1)
            value, place = _varint(payload, place)
            found.append(_signed(value))
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


def _payload(data: memoryview, place: int, *, wire: int) -> tuple[Any, int]:
    """What follows a key, an integer or bytes, and the place behind it."""
    if wire == 0:
        value, place = _varint(data, place)
        return _signed(value), place
    if wire == _LENGTH:
        size, place = _varint(data, place)
    elif wire in _SIZES:
        size = _SIZES[wire]
    else:
        raise WireError(f"wire type {wire}")
    if size > len(data) - place:
        raise WireError("cut short")
    return data[place : place + size], place + size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise WireError("cut short")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
    raise WireError("a number of more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value

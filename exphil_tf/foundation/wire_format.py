"""Protocol buffers as they lie in files: numbers, and the fields of a message.

Two formats are read and one is written here without their own libraries, whose import costs a
worker seconds or which play does not have: `tf.train.Example` (`exphil_tf.records.example`) and
ONNX (`exphil_tf.inference.onnx_file`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED_64, LENGTH, FIXED_32 = 0, 1, 2, 5
"""How a field's value lies in the file, `wire` below."""
_SIZES = {FIXED_64: 8, FIXED_32: 4}
_WORD = 1 << 64


class WireError(ValueError):
    """Bytes that are no message."""


class Field(NamedTuple):
    """A field of a message."""

    number: int
    wire: int
    value: int | memoryview
    """A signed number if `wire` is `VARINT`, else the bytes."""


def write_varint(value: int) -> bytes:
    """A number of 64 bits, seven a byte, the lowest first; negative ones as two's complement."""
    value %= _WORD
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return write_varint(number << 3 | LENGTH) + write_varint(len(payload)) + payload


def read_varint(data: memoryview, place: int) -> tuple[int, int]:
    """An unsigned number and the place behind it.

    Raises: WireError: if it is cut short or has more than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise WireError("cut short")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value % _WORD, place
    raise WireError("a number of more than 64 bits")


def signed(value: int) -> int:
    """A number of 64 bits read as two's complement."""
    return value - _WORD if value >> 63 else value


def read_varints(data: memoryview) -> Iterator[int]:
    """Signed numbers that lie packed one behind another.

    Raises: WireError: if the last is cut short.
    """
    place = 0
    while place < len(data):
        value, place = read_varint(data, place)
        yield signed(value)


def read_fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises: WireError: if one runs past the end, or is of a kind that is no longer in use.
    """
    place = 0
    while place < len(data):
        key, place = read_varint(data, place)
        value, place = _read_value(data, place, wire=key & 7)
        yield Field(key >> 3, key & 7, value)


def _read_value(data: memoryview, place: int, *, wire: int) -> tuple[int | memoryview, int]:
    if wire == VARINT:
        value, place = read_varint(data, place)
        return signed(value), place
    if wire == LENGTH:
        size, place = read_varint(data, place)
    elif wire in _SIZES:
        size = _SIZES[wire]
    else:
        raise WireError(f"wire type {wire}")
    if size > len(data) - place:
        raise WireError(f"cut short: a field of {size} bytes")
    return data[place : place + size], place + size

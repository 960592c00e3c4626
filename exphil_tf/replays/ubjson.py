"""The part of UBJSON that replay metadata uses, read with hard limits.

Native readers recurse on nested metadata until the stack overflows (a 73 KiB file kills the
process), so every file passes through this reader first. It knows all scalar types and plain
objects and arrays; the optimised containers (`$`, `#`) occur only around the raw event stream,
which is not read here.
"""

from __future__ import annotations

import struct
from typing import Any, cast

MAX_DEPTH = 32
MAX_VALUES = 20_000
"""Real metadata holds about thirty values."""

_SCALARS = {
    b"i": (">b", 1), b"U": (">B", 1), b"I": (">h", 2), b"l": (">i", 4), b"L": (">q", 8),
    b"d": (">f", 4),
    b"D": (">d", 8),
}  # fmt: skip
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


class UbjsonError(ValueError):
    """Malformed, too long or truncated."""


class NestingError(UbjsonError):
    """Deeper than `MAX_DEPTH`."""


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.values = 0

    def take(self, size: int) -> bytes:
        chunk = self.data[self.position : self.position + size]
        if size < 0 or len(chunk) < size:
            raise UbjsonError(f"metadata ends inside a value at byte {self.position}")
        self.position += size
        return chunk

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NestingError(f"metadata nested deeper than {MAX_DEPTH}")
        self.values += 1
        if self.values > MAX_VALUES:
            raise UbjsonError(f"metadata holds more than {MAX_VALUES} values")
        marker = self.take(1)
        if marker == b"{":
            return self.members(depth)
        if marker == b"[":
            return self.elements(depth)
        return self.scalar(marker)

    def scalar(self, marker: bytes) -> Any:
        if marker in _SCALARS:
            code, size = _SCALARS[marker]
            return struct.unpack(code, self.take(size))[0]
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in (b"S", b"H"):
            return self.text()
        if marker == b"C":
            return self.take(1).decode("latin-1")
        raise UbjsonError(f"metadata has the unknown type {marker!r} at byte {self.position - 1}")

    def text(self) -> str:
        length = self.scalar(self.take(1))
        if not isinstance(length, int):
            raise UbjsonError(
                f"metadata has a text length that is no integer at byte {self.position}"
            )
        return self.take(length).decode("utf-8", "replace")

    def members(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while self.data[self.position : self.position + 1] != b"}":
            key = self.text()
            result[key] = self.value(depth + 1)
        self.position += 1
        return result

    def elements(self, depth: int) -> list[Any]:
        result: list[Any] = []
        while self.data[self.position : self.position + 1] != b"]":
            result.append(self.value(depth + 1))
        self.position += 1
        return result


def read_object(data: bytes, position: int) -> tuple[dict[str, Any], int]:
    """The object whose `{` lies at `position`, and the position after its `}`.

    Raises:
      NestingError: if it is nested deeper than `MAX_DEPTH`.
      UbjsonError: if it is malformed, truncated or no object.
    """
    reader = _Reader(data, position)
    value = reader.value(1)
    if not isinstance(value, dict):
        raise UbjsonError(
            f"metadata: want an object at byte {position}. Received: {type(value).__name__}"
        )
    return cast(dict[str, Any], value), reader.position


def write_object(value: dict[str, Any]) -> bytes:
    """UBJSON of nested dicts of str and int, in the form Slippi clients write (int32 numbers).

    Raises:
      TypeError: if a value is neither dict, str nor int.
    """
    body = b"".join(_text(key) + _value(item) for key, item in value.items())
    return b"{" + body + b"}"


def _text(text: str) -> bytes:
    data = text.encode()
    return (
        b"U" + bytes([len(data)]) if len(data) < 256 else b"l" + struct.pack(">i", len(data))
    ) + data


def _value(value: Any) -> bytes:
    if isinstance(value, dict):
        return write_object(cast(dict[str, Any], value))
    if isinstance(value, str):
        return b"S" + _text(value)
    if isinstance(value, int):
        return b"l" + struct.pack(">i", value)
    raise TypeError(f"metadata: want dict, str or int. Received: {type(value).__name__}")

"""The slpz format: a replay whose events are sorted into byte columns and packed with zstd.

Written by the program of that name (https://github.com/AlexanderHarrison/slpz), whose readme
describes version 0, the only one. All integers are big-endian:

    0  u32 version             12  u32 offset of the metadata
    4  u32 offset of sizes     16  u32 offset of the packed events
    8  u32 offset of the start 20  u32 bytes of the events when unpacked

*Sizes* is the replay's payload table, *start* its Game Start event, *metadata* all that follows the
replay's events. The unpacked events begin with their number (u32) and then hold one command byte
per event in the game's order; after these come, for each command in ascending order, the first
payload bytes of all its events, then all second bytes, and so on.

Unpacking gives back the replay byte for byte. No library for Python reads the format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from exphil_tf.replays import events, slp
from exphil_tf.replays.refusals import Reason, ReplayError

_HEADER = struct.Struct(">6I")
_VERSION = 0


def unpack(data: bytes, unzstd: Callable[[bytes, int], bytes]) -> bytes:
    """The replay in an slpz file.

    Args:
      data: the whole file.
      unzstd: (packed bytes, limit) → unpacked bytes; raises ReplayError if there are more.

    Raises:
      ReplayError: bad_archive or zip_bomb.
    """
    if len(data) < _HEADER.size:
        raise _damaged(f"{len(data)} bytes are no header")
    version, *offsets, size = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise _damaged(f"want version {_VERSION}. Received: {version}")
    if [_HEADER.size, *offsets, len(data)] != sorted([_HEADER.size, *offsets, len(data)]):
        raise _damaged("offsets out of order, or beyond the end")
    if size > slp.MAX_BYTES:
        raise ReplayError(Reason.ZIP_BOMB, f"{size} bytes of events, want at most {slp.MAX_BYTES}")
    table_at, start_at, metadata_at, packed_at = offsets
    table = data[table_at:start_at]
    columns = unzstd(data[packed_at:], size)
    if len(columns) != size:
        raise _damaged(f"{len(columns)} bytes of events, want {size}")
    raw = b"".join((table, data[start_at:metadata_at], _rows(columns, _sizes(table))))
    head = events.MAGIC + len(raw).to_bytes(4, "big")
    return head + raw + data[metadata_at:packed_at]


def _damaged(detail: str) -> ReplayError:
    return ReplayError(Reason.BAD_ARCHIVE, f"slpz: {detail}")


def _sizes(table: bytes) -> np.ndarray:
    """Payload bytes of each command, int64 `[256]`; 0 for those that the table lacks."""
    if len(table) < 2 or table[0] != events.PAYLOADS or len(table) != 1 + table[1]:
        raise _damaged("no payload table")
    sizes = np.zeros(256, np.int64)
    for command, high, low in zip(*(table[2 + i :: 3] for i in range(3)), strict=False):
        sizes[command] = high << 8 | low
    return sizes


def _rows(columns: bytes, sizes: np.ndarray) -> bytes:
    """Events in the game's order, from their byte columns."""
    number = int.from_bytes(columns[:4], "big")
    data = np.frombuffer(columns, np.uint8)
    commands, payloads = data[4 : 4 + number], data[4 + number :]
    if len(commands) != number or len(payloads) != sizes[commands].sum():
        raise _damaged(f"{len(columns)} bytes do not hold {number} events")
    if number and not sizes[commands].all():
        raise _damaged("an event that the payload table lacks")
    ends = np.cumsum(1 + sizes[commands])
    starts = ends - sizes[commands]
    out = np.empty(int(ends[-1]) if number else 0, np.uint8)
    out[starts - 1] = commands
    taken = 0
    for command in np.unique(commands):
        places, width = starts[commands == command], int(sizes[command])
        block = payloads[taken : taken + len(places) * width].reshape(width, len(places))
        taken += block.size
        _scatter(out, places, block)
    return out.tobytes()


def _scatter(out: np.ndarray, places: np.ndarray, block: np.ndarray) -> None:
    """Writes `block.T`, one row at each place; loops over the shorter side of it."""
    width, number = block.shape
    if width <= number:
        for column in range(width):
            out[places + column] = block[column]
    else:
        for place, row in zip(places.tolist(), block.T, strict=True):
            out[place : place + width] = row

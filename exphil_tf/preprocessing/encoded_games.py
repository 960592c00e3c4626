"""A game's chunks as bytes, for the time between parsing and placement.

What a game is called, who plays it and which shard it lies in are known once all games are. Until
then its chunks wait compressed, each behind a small header; turning them into records later costs
microseconds a chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exphil_tf.records.example import ChunkMeta, Packed, encode_packed
from exphil_tf.records.shards import frame

_HEADER = struct.Struct("<IIBI")
"""Start, rows, whether it is the last, bytes that follow."""


class Place(NamedTuple):
    """Where the parts of one game lie, one behind another.

    Attributes:
      path: of the spill file.
      offset: of the first part.
      sizes: bytes of each part.
    """

    path: str = ""
    offset: int = 0
    sizes: tuple[int, ...] = ()


def join(chunks: Iterable[Packed]) -> bytes:
    """The chunks of one variant of a game, one after another."""
    return b"".join(
        _HEADER.pack(one.start, one.valid, one.last, len(one.blob)) + one.blob for one in chunks
    )


def split(data: bytes) -> Iterator[Packed]:
    """The inverse of `join`."""
    position = 0
    while position < len(data):
        start, valid, last, size = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        yield Packed(start, valid, bool(last), data[position : position + size])
        position += size


def records(data: bytes, meta: ChunkMeta) -> bytes:
    """The TFRecords, framed and joined, of a variant's chunks."""
    return b"".join(frame(encode_packed(chunk, meta)) for chunk in split(data))

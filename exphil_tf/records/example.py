"""A chunk of one game as a `tf.train.Example`, written and read by hand.

A *chunk* owns `chunk_frames` consecutive rows of a game and repeats the `overlap_frames` rows
behind them, so that a window that begins in the chunk can end inside the same record. Every row is
owned by exactly one chunk. Both players are stored once (`exphil_tf.features.packing`); who may be
imitated is the bitmask `perspectives`.

The rows lie transposed, one plane per byte of the row, padded with zeros to `chunk_frames +
overlap_frames` columns (padding is nearly free under ZSTD and lets a reader decode a whole batch at
once), as one ZSTD frame of level 1 in one bytes feature: TFRecord files know no ZSTD, but
`tf.io.decode_compressed(x, "ZSTD")` decodes a batch of features.

The wire format is written here, not by TensorFlow, since importing TensorFlow costs a worker 9 s
and 500 MB. Features are in the order of their names, so equal chunks are equal bytes.

Measured on human netplay games, bytes per frame and perspective: 14.1 with 1024 + 128 rows; 16.5
with 512 (and a quarter of the rows stored twice), 12.7 with 2048 (but twice the memory per shuffled
record); level 3 saves 4 % and takes 1.2 times as long. All are equally fast otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import zstandard

from exphil_tf.features.packing import ROW_BYTES, Replaced
from exphil_tf.foundation.wire_format import (
    LENGTH,
    Field,
    WireError,
    read_fields,
    read_varints,
    write_field,
    write_varint,
)

CHUNK_FRAMES = 1024
OVERLAP_FRAMES = 128
ZSTD_LEVEL = 1

NO_WINNER = 2

_BYTES_LIST, _INT64_LIST = 1, 3
_CACHED_BYTES = 64


class ChunkMeta(NamedTuple):
    """What all chunks of a game have in common.

    Attributes:
      key: the game's key; unique in a dataset and variant.
      perspectives: bit p is set if player p (in port order) may be imitated.
      player_ids: registry index of each player; 0 is nobody in particular.
      characters: internal id of the character that each player played most.
      stage: external stage id.
      winner: index of the player who won; 2 where nobody is known to have (`NO_WINNER`).
    """

    key: bytes
    perspectives: int = 0b11
    player_ids: tuple[int, int] = (0, 0)
    characters: tuple[int, int] = (0, 0)
    stage: int = 0
    winner: int = NO_WINNER


class Chunk(NamedTuple):
    """A decoded record.

    Attributes:
      meta: of the game.
      start: row of the game at which the chunk begins.
      last: the game ends inside this record.
      rows: uint8 `[n, ROW_BYTES]`, overlap included, padding removed.
    """

    meta: ChunkMeta
    start: int
    last: bool
    rows: np.ndarray


class Packed(NamedTuple):
    """The rows of a chunk, compressed, without what only a finished collection knows of its game.

    Attributes:
      start: row of the game at which it begins.
      valid: rows present, overlap included.
      last: the game ends inside it.
      blob: the byte planes as one ZSTD frame.
    """

    start: int
    valid: int
    last: bool
    blob: bytes


# -- Wire format -----------------------------------------------------------------------------------


def _feature(value: bytes | tuple[int, ...]) -> bytes:
    if isinstance(value, bytes):
        return write_field(_BYTES_LIST, write_field(1, value))
    return write_field(_INT64_LIST, write_field(1, b"".join(map(write_varint, value))))


def _entry(name: str, value: bytes | tuple[int, ...]) -> bytes:
    return write_field(1, write_field(1, name.encode()) + write_field(2, _feature(value)))


_cached_entry = functools.lru_cache(4096)(_entry)
"""Most features are the same in all records of a game."""


def write_example(features: Mapping[str, bytes | tuple[int, ...]]) -> bytes:
    """A serialised `tf.train.Example` of bytes and int64-list features, ordered by name."""
    entries = [
        (_cached_entry if len(value) <= _CACHED_BYTES else _entry)(name, value)
        for name, value in sorted(features.items())
    ]
    return write_field(1, b"".join(entries))


def _span(field: Field) -> memoryview:
    if isinstance(field.value, int) or field.wire != LENGTH:
        raise WireError(f"want a message. Received: wire type {field.wire}")
    return field.value


def _read_ints(data: memoryview) -> tuple[int, ...]:
    values: list[int] = []
    for field in read_fields(data):
        # Lists may lie packed or not.
        values += [field.value] if isinstance(field.value, int) else read_varints(_span(field))
    return tuple(values)


def read_example(record: bytes) -> dict[str, bytes | tuple[int, ...]]:
    """Bytes and int64-list features of a serialised `tf.train.Example`.

    Raises:
      ValueError: if the bytes are no such message.
    """
    try:
        return dict(_features(memoryview(record)))
    except WireError as error:
        raise ValueError(f"example: {error}") from error


def _features(record: memoryview) -> Iterator[tuple[str, bytes | tuple[int, ...]]]:
    for body in read_fields(record):
        for entry in read_fields(_span(body)):
            parts = {field.number: _span(field) for field in read_fields(_span(entry))}
            if set(parts) != {1, 2}:
                raise WireError("want a name and a feature in each entry")
            name = bytes(parts[1]).decode()
            for kind in read_fields(parts[2]):
                if kind.number == _INT64_LIST:
                    yield name, _read_ints(_span(kind))
                elif kind.number == _BYTES_LIST:
                    items = read_fields(_span(kind))
                    yield name, b"".join(bytes(_span(item)) for item in items)
                else:
                    raise WireError(f"{name}: want bytes or int64. Received: kind {kind.number}")


# -- Chunks ----------------------------------------------------------------------------------------


@functools.cache
def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(
        level=ZSTD_LEVEL, threads=0, write_content_size=True, write_checksum=False
    )


@functools.cache
def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor()


def encode_chunks(
    planes: np.ndarray,
    meta: ChunkMeta,
    *,
    chunk_frames: int = CHUNK_FRAMES,
    overlap_frames: int = OVERLAP_FRAMES,
) -> list[bytes]:
    """The records of one game, in order; arguments as `encode_variants`."""
    variants = encode_variants(
        planes, {"": None}, meta, chunk_frames=chunk_frames, overlap_frames=overlap_frames
    )
    return variants[""]


def encode_variants(
    planes: np.ndarray,
    variants: Mapping[str, Replaced | None],
    meta: ChunkMeta,
    *,
    chunk_frames: int = CHUNK_FRAMES,
    overlap_frames: int = OVERLAP_FRAMES,
) -> dict[str, list[bytes]]:
    """The records of several variants of one game, in order; arguments as `pack_variants`."""
    packed = pack_variants(
        planes, variants, chunk_frames=chunk_frames, overlap_frames=overlap_frames
    )
    return {name: [encode_packed(one, meta) for one in some] for name, some in packed.items()}


def pack_variants(
    planes: np.ndarray,
    variants: Mapping[str, Replaced | None],
    *,
    chunk_frames: int = CHUNK_FRAMES,
    overlap_frames: int = OVERLAP_FRAMES,
) -> dict[str, list[Packed]]:
    """The chunks of several variants of one game, in order.

    Args:
      planes: uint8 `[ROW_BYTES, frames]`, from `packing.pack_planes`.
      variants: name → which planes differ; None for the original.
      chunk_frames: rows that a record owns.
      overlap_frames: rows behind those that it repeats.

    Raises:
      ValueError: if `planes` is no such array or a length is not positive.
    """
    if planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[0] != ROW_BYTES:
        raise ValueError(
            f"planes: want uint8 [{ROW_BYTES}, frames]. "
            f"Received: {planes.dtype}{list(planes.shape)}"
        )
    if chunk_frames < 1 or overlap_frames < 0:
        raise ValueError(
            f"chunk: want at least 1 frame. Received: {chunk_frames} + {overlap_frames}"
        )
    num_frames, width = planes.shape[1], chunk_frames + overlap_frames
    buffer = np.zeros((ROW_BYTES, width), np.uint8)
    chunks: dict[str, list[Packed]] = {name: [] for name in variants}
    for start in range(0, num_frames, chunk_frames):
        stop = min(start + width, num_frames)
        buffer[:, : stop - start] = planes[:, start:stop]
        buffer[:, stop - start :] = 0
        for name, changed in variants.items():
            if changed is not None:
                buffer[changed.index, : stop - start] = changed.planes[:, start:stop]
            blob = _compressor().compress(buffer.data)
            chunks[name].append(Packed(start, stop - start, stop == num_frames, blob))
            if changed is not None:
                buffer[changed.index, : stop - start] = planes[changed.index, start:stop]
    return chunks


def encode_packed(chunk: Packed, meta: ChunkMeta) -> bytes:
    """The record of a chunk of the given game."""
    return write_example(
        {
            "x": chunk.blob,
            "n": (chunk.valid,),
            "start": (chunk.start,),
            "last": (int(chunk.last),),
            "key": meta.key,
            "perspectives": (meta.perspectives,),
            "player_ids": meta.player_ids,
            "characters": meta.characters,
            "stage": (meta.stage,),
            "winner": (meta.winner,),
        }
    )


class Header(NamedTuple):
    """A record without its rows: what `verify` counts."""

    meta: ChunkMeta
    start: int
    valid: int
    last: bool
    blob: bytes


def _ints(
    features: Mapping[str, bytes | tuple[int, ...]], name: str, count: int
) -> tuple[int, ...]:
    value = features.get(name)
    if not isinstance(value, tuple) or len(value) != count:
        raise ValueError(f"example.{name}: want {count} integers. Received: {value!r:.60}")
    return value


def _bytes(features: Mapping[str, bytes | tuple[int, ...]], name: str) -> bytes:
    value = features.get(name)
    if not isinstance(value, bytes):
        raise ValueError(f"example.{name}: want bytes. Received: {value!r:.60}")
    return value


def _pair(features: Mapping[str, bytes | tuple[int, ...]], name: str) -> tuple[int, int]:
    one, two = _ints(features, name, 2)
    return one, two


def decode_header(record: bytes) -> Header:
    """Reads a record, rows still packed.

    Raises:
      ValueError: if it is no record of ours.
    """
    features = read_example(record)
    meta = ChunkMeta(
        key=_bytes(features, "key"),
        perspectives=_ints(features, "perspectives", 1)[0],
        player_ids=_pair(features, "player_ids"),
        characters=_pair(features, "characters"),
        stage=_ints(features, "stage", 1)[0],
        winner=_ints(features, "winner", 1)[0],
    )
    return Header(
        meta,
        start=_ints(features, "start", 1)[0],
        valid=_ints(features, "n", 1)[0],
        last=bool(_ints(features, "last", 1)[0]),
        blob=_bytes(features, "x"),
    )


def decode_chunk(record: bytes) -> Chunk:
    """Reads a record, rows included.

    Raises:
      ValueError: if it is no record of ours.
    """
    header = decode_header(record)
    planes = decode_planes(header.blob)
    if not 0 < header.valid <= planes.shape[1]:
        raise ValueError(f"example.n: want 1 to {planes.shape[1]}. Received: {header.valid}")
    rows = np.ascontiguousarray(planes[:, : header.valid].T)
    return Chunk(header.meta, header.start, header.last, rows)


def decode_planes(blob: bytes) -> np.ndarray:
    """Byte planes uint8 `[ROW_BYTES, columns]` of a record's `x`, padding included.

    Raises:
      ValueError: if it is not a ZSTD frame of whole planes.
    """
    try:
        size = zstandard.get_frame_parameters(blob).content_size
        if not 0 < size <= ROW_BYTES << 20 or size % ROW_BYTES:
            raise ValueError(f"example.x: want a multiple of {ROW_BYTES} bytes. Received: {size}")
        data = _decompressor().decompress(blob)
    except zstandard.ZstdError as error:
        raise ValueError(f"example.x: not a ZSTD frame: {error}") from error
    return np.frombuffer(data, np.uint8).reshape(ROW_BYTES, -1)


def join_rows(chunks: list[Chunk]) -> np.ndarray:
    """Rows uint8 `[frames, ROW_BYTES]` of a whole game from its chunks, overlaps removed.

    Raises:
      ValueError: if the chunks are not those of one whole game.
    """
    ordered = sorted(chunks, key=lambda chunk: chunk.start)
    if (
        not ordered
        or ordered[0].start
        or not ordered[-1].last
        or len({chunk.meta.key for chunk in ordered}) > 1
    ):
        raise ValueError("chunks: want all chunks of one game")
    parts = [
        one.rows[: two.start - one.start] for one, two in zip(ordered, ordered[1:], strict=False)
    ]
    if any(
        len(p) != t.start - o.start for p, o, t in zip(parts, ordered, ordered[1:], strict=False)
    ):
        raise ValueError("chunks: a chunk between the first and the last is missing")
    return np.concatenate([*parts, ordered[-1].rows])

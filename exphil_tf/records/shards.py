"""TFRecord files: names, framing with CRC32C, checked reading; `atomic` writes them.

CRCs catch damaged bytes, but a file cut at a record's border still reads well: counts and the whole
file's sha256 stand in the manifest for that.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_MAX_RECORD_BYTES = 1 << 28
_SHARD_NAME = re.compile(r"(train|validation|test)-([a-z0-9_]+)-(\d{5})-of-(\d{5})\.tfrecord")


class ShardName(NamedTuple):
    """Place of a shard in a dataset."""

    split: str
    variant: str
    number: int
    total: int

    @property
    def path(self) -> str:
        """File name, `{split}-{variant}-{number:05d}-of-{total:05d}.tfrecord`."""
        return f"{self.split}-{self.variant}-{self.number:05d}-of-{self.total:05d}.tfrecord"

    @classmethod
    def parse(cls, path: str) -> ShardName:
        """The place that a file name tells; ValueError if it is no shard's name."""
        match = _SHARD_NAME.fullmatch(path)
        if not match:
            raise ValueError(f"{path}: want split-variant-00000-of-00001.tfrecord")
        return cls(match[1], match[2], int(match[3]), int(match[4]))


class CorruptShard(ValueError):
    """A shard whose bytes are not what was written."""


def _masked_crc(data: bytes) -> int:
    crc = cast(int, google_crc32c.value(data))  # pyright: ignore[reportUnknownMemberType]
    return (crc >> 15 | crc << 17) + _MASK_DELTA & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """A record as it lies in a TFRecord file: length, its CRC, the bytes, their CRC."""
    length = struct.pack("<Q", len(record))
    return b"".join(
        (
            length,
            struct.pack("<I", _masked_crc(length)),
            record,
            struct.pack("<I", _masked_crc(record)),
        )
    )


def read_records(path: Path) -> Iterator[bytes]:
    """Records of a TFRecord file, in order, CRCs checked.

    Raises:
      CorruptShard: names the record and what is wrong with it.
    """
    with path.open("rb") as file:
        for index, start in enumerate(iter(file.tell, None)):
            head = file.read(12)
            if not head:
                return
            where = f"{path.name}: record {index} at byte {start}"
            if len(head) < 12:
                raise CorruptShard(f"{where}: cut off inside its header")
            (length,), (check,) = struct.unpack("<Q", head[:8]), struct.unpack("<I", head[8:])
            if check != _masked_crc(head[:8]) or length > _MAX_RECORD_BYTES:
                raise CorruptShard(f"{where}: damaged length")
            body = file.read(length + 4)
            if len(body) < length + 4:
                raise CorruptShard(f"{where}: cut off, {len(body)} of {length + 4} bytes are left")
            record = body[:length]
            if struct.unpack("<I", body[length:])[0] != _masked_crc(record):
                raise CorruptShard(f"{where}: checksum does not match")
            yield record

"""A zip's central directory, read as a stream: one entry in memory, whatever the directory claims.

Python's `zipfile` holds the whole directory and an object per entry (4 GB for a sparse file of
1 MB); collections of replays have 170,000 members. Members are read elsewhere, from their place.

Read are zip64, archives behind other bytes (self-extracting ones), comments of any length. An
archive of several parts is refused.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from exphil_tf.replays.refusals import Reason, ReplayError

_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_MAX_COMMENT = (1 << 16) - 1
_SIGNED = (b"PK\x05\x05", b"PK\x06\x06", b"PK\x05\x06")
"""What may follow the last entry."""
_UTF8 = 0x800
_UNKNOWN = 0xFFFFFFFF


class Entry(NamedTuple):
    """A member as the directory describes it; nothing of it is checked.

    Attributes:
      name: with `/` between folders.
      flags: general purpose bits.
      method: compression.
      crc: CRC-32.
      packed, size: bytes in the archive and out of it.
      offset: of the local header in the file.
    """

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class _End(NamedTuple):
    at: int
    entries: int
    size: int
    offset: int


def entries(file: BinaryIO) -> Iterator[Entry]:
    """Members in the directory's order.

    Raises:
      ReplayError: bad_archive, also after some of the entries.
    """
    end = _find_end(file)
    start = _find_start(file, end)
    stop = min(start + end.size, end.at)
    file.seek(start)
    number = 0
    while file.tell() < stop:
        head = file.read(_ENTRY.size)
        if head[:4] in _SIGNED:
            break
        if len(head) < _ENTRY.size or not head.startswith(b"PK\x01\x02"):
            raise _damaged(f"the directory is damaged after {number} entries")
        yield _entry(file, head, start - end.offset)
        number += 1
    # Writers without zip64 count modulo 65,536.
    if (number - end.entries) % (1 << 16):
        raise _damaged(f"the directory has {number} of {end.entries} entries")


def _damaged(detail: str) -> ReplayError:
    return ReplayError(Reason.BAD_ARCHIVE, detail)


def _find_end(file: BinaryIO) -> _End:
    """What the end of the archive says about the directory."""
    length = file.seek(0, os.SEEK_END)
    base = max(0, length - _MAX_COMMENT - _END.size)
    file.seek(base)
    tail = file.read()
    at = _end_position(tail)
    if at < 0:
        raise _damaged("no end of central directory: not a zip, or cut off")
    _, disk, _, _, number, size, offset, _ = _END.unpack_from(tail, at)
    if disk not in (0, 0xFFFF):
        raise _damaged("a part of a split archive: join the parts first")
    return _zip64_end(file, base + at) or _End(base + at, number, size, offset)


def _end_position(tail: bytes) -> int:
    """Of the last end record whose comment fills the file, else of the last one; -1 if none."""
    last = at = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
    while at >= 0:
        if at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            return at
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return last


def _zip64_end(file: BinaryIO, at: int) -> _End | None:
    """The zip64 end record before the end record at `at`, if there is one."""
    file.seek(max(0, at - _LOCATOR.size))
    locator = file.read(_LOCATOR.size)
    if len(locator) < _LOCATOR.size or not locator.startswith(b"PK\x06\x07"):
        return None
    claimed = _LOCATOR.unpack(locator)[2]
    for place in (claimed, at - _LOCATOR.size - _END64.size):  # the first, unless bytes lie before
        if not 0 <= place <= at - _LOCATOR.size - _END64.size:
            continue
        file.seek(place)
        record = file.read(_END64.size)
        if record.startswith(b"PK\x06\x06"):
            *_, number, size, offset = _END64.unpack(record)
            return _End(place, number, size, offset)
    raise _damaged("no zip64 end record where the archive says it lies")


def _find_start(file: BinaryIO, end: _End) -> int:
    """Where the directory begins: right before its end, else where the archive says."""
    if not end.size:
        return end.at
    for place in (end.at - end.size, end.offset):
        if 0 <= place < end.at:
            file.seek(place)
            if file.read(4) == b"PK\x01\x02":
                return place
    raise _damaged("no directory where the archive says it begins")


def _entry(file: BinaryIO, head: bytes, shift: int) -> Entry:
    _, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, offset = _ENTRY.unpack(head)
    name_bytes, extra_bytes, comment_bytes = lengths
    raw = file.read(name_bytes)
    extra = file.read(extra_bytes)
    file.seek(comment_bytes, os.SEEK_CUR)
    if len(extra) < extra_bytes:
        raise _damaged("the directory is cut off")
    size, packed, offset = _zip64_values(extra, [size, packed, offset])
    text = raw.decode("utf-8", "surrogateescape") if flags & _UTF8 else raw.decode("cp437")
    name = text.partition("\0")[0].replace("\\", "/")
    return Entry(name, flags, method, crc, packed, size, offset + shift)


def _zip64_values(extra: bytes, values: list[int]) -> list[int]:
    """The values, those that did not fit taken from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind != 1:
            continue
        wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
        return [next(wide, value) if value == _UNKNOWN else value for value in values]
    return values

"""A tar's members, read forward in one pass and in bounded memory.

`tarfile` understands single headers and is used for them. Its archive reader is not: it keeps every
member, reads a long name of any claimed length into memory, recurses over chains of extended
headers, and silently stops at a damaged one.

Read are ustar, GNU (long names, large sizes) and pax, several archives one after another, and
archives without an end mark. Sparse members, links and devices come with the reason why not.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from exphil_tf.replays.refusals import Reason, ReplayError

BLOCK = 512
_MAX_EXTENDED = 1 << 20
"""Most bytes of a long name or pax header (which may carry file attributes)."""
_MAX_SIZE = 1 << 40
_LONG_NAME, _LONG_LINK = b"L", b"K"
_PAX, _PAX_GLOBAL, _SOLARIS_PAX = b"x", b"g", b"X"
_SKIP_BYTES = 1 << 20


class Member(NamedTuple):
    """A member, at whose first byte the stream stands.

    Attributes:
      name: of the member.
      size: in bytes.
      offset: of its first byte.
      fault: why it has no bytes of its own; empty for a file.
    """

    name: str
    size: int
    offset: int
    fault: str = ""


class Forward:
    """A stream that knows where it stands and goes forward only.

    Args:
      file: seekable or not.
      limit: most bytes to be read or skipped if it isn't.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._end: int | None = None
        if file.seekable():
            self._end = file.seek(0, os.SEEK_END)
            file.seek(0)
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end only."""
        data = self._file.read(size)
        self._advance(len(data))
        return data

    def skip_to(self, position: int) -> None:
        """Goes to a later position."""
        if self._end is not None:
            if position >= self._end + BLOCK:  # the last block needn't be full
                raise cut_off()
            self._file.seek(position)
            self.position = position
            return
        while self.position < position:
            if not self.read(min(_SKIP_BYTES, position - self.position)):
                raise cut_off()

    def _advance(self, size: int) -> None:
        self.position += size
        if self._end is None and self.position > self._limit:
            raise ReplayError(Reason.ZIP_BOMB, f"unpacks to more than {self._limit} bytes")


def cut_off() -> ReplayError:
    """What to raise where bytes are missing."""
    return ReplayError(Reason.BAD_ARCHIVE, "the archive is cut off")


def members(stream: Forward) -> Iterator[Member]:
    """Members that are no folders, in the archive's order. The caller may read their bytes.

    Raises:
      ReplayError: bad_archive or zip_bomb, also after some of the members.
    """
    said: dict[str, str] = {}  # by extended headers, about the member that follows them
    ended = False
    while len(block := stream.read(BLOCK)) == BLOCK:
        if not block.strip(b"\0"):
            ended = True
            continue
        header = _header(block, stream.position, ended=ended)
        if header is None:
            return
        ended = False
        end = stream.position + -(-header.size // BLOCK) * BLOCK
        if header.type in (_LONG_NAME, _LONG_LINK, _PAX, _SOLARIS_PAX, _PAX_GLOBAL):
            said |= _extended(stream, header)
            stream.skip_to(end)
            continue
        member, end = _member(stream, header, block, said=said)
        said = {}
        if member is not None:
            yield member
        stream.skip_to(end)
    if block and not ended:
        raise cut_off()


def _header(block: bytes, position: int, *, ended: bool) -> tarfile.TarInfo | None:
    """A block's header; None if it is rubbish behind the end of the archive."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if not 0 <= header.size <= _MAX_SIZE:
            raise ValueError(f"a size of {header.size}")
    except (tarfile.HeaderError, ValueError) as error:
        if ended:
            return None
        raise ReplayError(
            Reason.BAD_ARCHIVE, f"damaged at byte {position - BLOCK}: {error}"[:200]
        ) from error
    return header


def _member(
    stream: Forward, header: tarfile.TarInfo, block: bytes, *, said: dict[str, str]
) -> tuple[Member | None, int]:
    """The member of a header, None for a folder, and where the next header lies."""
    sparse = header.type == tarfile.GNUTYPE_SPARSE or "sparse" in said
    if header.type == tarfile.GNUTYPE_SPARSE:
        _skip_sparse_map(stream, block)
    has_bytes = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    size = _number(said.get("size", ""), header.size) if has_bytes else 0
    end = stream.position + -(-size // BLOCK) * BLOCK
    if header.isdir():
        return None, end
    fault = ""
    if not has_bytes:
        fault = "a link inside the archive" if header.issym() or header.islnk() else "a device"
    elif sparse:
        fault = "a sparse member: repack the archive without --sparse"
    elif not header.isreg():
        fault = f"a member of unknown type {header.type!r}"
    name = said.get("path", header.name).partition("\0")[0]
    return Member(name, size, stream.position, fault), end


def _skip_sparse_map(stream: Forward, block: bytes) -> None:
    more = block[482]
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise cut_off()
        more = block[504]


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 13 else default


def _extended(stream: Forward, header: tarfile.TarInfo) -> dict[str, str]:
    """What a long name or a pax header says about the next member: path, size, sparse."""
    if header.type in (_LONG_LINK, _PAX_GLOBAL):
        return {}
    if header.size > _MAX_EXTENDED:
        raise ReplayError(
            Reason.ZIP_BOMB, f"a name of {header.size} bytes, want at most {_MAX_EXTENDED}"
        )
    data = stream.read(header.size)
    if len(data) < header.size:
        raise cut_off()
    if header.type == _LONG_NAME:
        return {"path": data.decode("utf-8", "surrogateescape")}
    return _pax(data)


def _pax(data: bytes) -> dict[str, str]:
    r"""Records of `length key=value\n`; a malformed one ends the reading."""
    said: dict[str, str] = {}
    file = io.BytesIO(data)
    while True:
        start = file.tell()
        digits = data[start : start + 8].partition(b" ")[0]
        if not digits.isdigit() or int(digits) <= len(digits) + 1:
            return said
        record = file.read(int(digits))[len(digits) + 1 : -1]
        key, _, value = record.partition(b"=")
        if key in (b"path", b"GNU.sparse.name"):
            said["path"] = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            said["size"] = value.decode("ascii", "replace")
        if key.startswith(b"GNU.sparse."):
            said["sparse"] = "1"

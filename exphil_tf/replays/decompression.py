"""Decompression of foreign bytes: in small steps, so that output and memory stay bounded.

Every format goes through one reader, `open_packed`, which hands out no more than is asked for,
verifies what the format can verify (CRC of gzip, xz and bzip2, checksum of zstd), takes several
members one after another, and refuses a stream that is cut off. Memory that a stream's header
claims for its dictionary is limited, not believed.
"""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Protocol

import zstandard

from exphil_tf.replays import slp, slpz
from exphil_tf.replays.refusals import Reason, ReplayError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_MEMORY_BYTES = 256 << 20
"""Most that one decompressor may take; `xz -9` needs 65 MB, `zstd --ultra -22` 128 MB."""
_MAX_ZSTD_WINDOW = 1 << 27
_CHUNK = 1 << 16
_ZSTD_CHUNK = 512
"""zstd has no limit on output: four bytes give 128 kB at most, so this many give 16 MB."""
_BUFFER = 1 << 18
_DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError, OSError)
"""What decompressors raise at damaged bytes; OSError is bz2's word for it."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib with the interface that bz2 and lzma share."""

    def __init__(self, wbits: int) -> None:
        self._inflater = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._full and not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length
        return out


class _Zstd:
    """The same for zstd, whose surplus waits here."""

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).decompressobj()
        self._out = io.BytesIO()
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._frame.eof and not self._waiting

    @property
    def _waiting(self) -> bool:
        return self._out.tell() < len(self._out.getbuffer())

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._out = io.BytesIO(self._frame.decompress(data))
        out = self._out.read(max_length)
        self.needs_input = not self._waiting
        return out


def _new_xz() -> _Decompressor:
    return lzma.LZMADecompressor(memlimit=MAX_MEMORY_BYTES)


_NEW: dict[str, Callable[[], _Decompressor]] = {
    "gz": lambda: _Zlib(31),  # gzip's header and CRC
    "xz": _new_xz,
    "lzma": _new_xz,
    "bz2": bz2.BZ2Decompressor,
    "zst": _Zstd,
}


class _Unpacked(io.RawIOBase):
    """What a packed file holds.

    Args:
      file: the packed bytes.
      new: a decompressor for the next of its members.
    """

    def __init__(self, file: BinaryIO, new: Callable[[], _Decompressor]) -> None:
        super().__init__()
        self._file = file
        self._new = new
        self._member = new()
        self._chunk = _ZSTD_CHUNK if isinstance(self._member, _Zstd) else _CHUNK

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as view:
            out = self._some(len(view))
            view[: len(out)] = out
            return len(out)

    def _some(self, limit: int) -> bytes:
        """The next bytes, at least one unless at the end."""
        while True:
            data = b""
            if self._member.eof:
                data = self._next_member()
                if not data:
                    return b""
            elif self._member.needs_input:
                data = self._file.read(self._chunk)
                if not data:
                    raise ReplayError(Reason.BAD_ARCHIVE, "cut off: the packed bytes end too early")
            out = self._decompress(data, limit)
            if out:
                return out

    def _next_member(self) -> bytes:
        """Begins the member after this one and returns its first bytes; padding is skipped."""
        data = self._member.unused_data.lstrip(b"\0")
        while not data:
            more = self._file.read(self._chunk)
            if not more:
                return b""
            data = more.lstrip(b"\0")
        self._member = self._new()
        return data

    def _decompress(self, data: bytes, limit: int) -> bytes:
        try:
            return self._member.decompress(data, limit)
        except _DAMAGE as error:
            raise ReplayError(Reason.BAD_ARCHIVE, str(error)[:200]) from error


def open_packed(file: BinaryIO, packing: str) -> BinaryIO:
    """A packed file's content, read forward. Reading raises ReplayError (bad_archive).

    Args:
      file: the packed bytes.
      packing: gz, xz, lzma, bz2 or zst.
    """
    return io.BufferedReader(_Unpacked(file, _NEW[packing]), _BUFFER)


def unwrap(data: bytes, packing: str) -> bytes:
    """A replay that was packed by itself, never more than `slp.MAX_BYTES`.

    Args:
      data: the packed bytes.
      packing: one of `formats.PACKINGS`; empty returns `data`.

    Raises:
      ReplayError: bad_archive, zip_bomb, too_small.
    """
    if packing == "slpz":
        data = slpz.unpack(data, lambda packed, size: _read_all(packed, "zst", limit=size))
    elif packing:
        data = _read_all(data, packing, limit=slp.MAX_BYTES)
    slp.check_size(len(data))
    return data


def _read_all(data: bytes, packing: str, *, limit: int) -> bytes:
    out = open_packed(io.BytesIO(data), packing).read(limit + 1)
    if len(out) > limit:
        raise ReplayError(Reason.ZIP_BOMB, f"{len(data)} bytes unpack to more than {limit}")
    return out


# -- Members of zips -------------------------------------------------------------------------------

STORED, DEFLATED, BZIP2, LZMA, ZSTD, XZ = 0, 8, 12, 14, 93, 95
METHODS = (STORED, DEFLATED, BZIP2, LZMA, ZSTD, XZ)
"""Compression methods of zips that are read."""


def unpack_member(packed: bytes, method: int, size: int) -> bytes:
    """At most `size` bytes of a zip's member; what lies beyond is not looked at.

    Args:
      packed: the member's bytes in the zip.
      method: one of `METHODS`.
      size: as declared.

    Raises:
      ReplayError: bad_archive.
    """
    if method == STORED:
        return packed
    if method == LZMA:
        packed, new = _zip_lzma(packed, size)
    else:
        new = {DEFLATED: lambda: _Zlib(-15), BZIP2: bz2.BZ2Decompressor, ZSTD: _Zstd, XZ: _new_xz}[
            method
        ]
    reader = _Unpacked(io.BytesIO(packed), new)
    out = bytearray()
    while len(out) < size and (some := reader.read(size - len(out))):
        out += some
    return bytes(out)


def _zip_lzma(packed: bytes, size: int) -> tuple[bytes, Callable[[], _Decompressor]]:
    """A member's raw LZMA bytes and their decompressor.

    The declared dictionary may be 4 GB; no match reaches further back than the output is long, so
    the output's length is enough.
    """
    header = struct.Struct("<BBHBI")  # version, length of the properties, properties, dictionary
    if len(packed) < header.size:
        raise ReplayError(Reason.BAD_ARCHIVE, "cut off: no LZMA header")
    _, _, length, code, dictionary = header.unpack_from(packed)
    if length != 5:
        raise ReplayError(Reason.BAD_ARCHIVE, f"want 5 LZMA properties. Received: {length}")
    lzma1 = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": min(max(dictionary, 4096), max(size, 4096)),
        "lc": code % 9,
        "lp": code // 9 % 5,
        "pb": code // 45,
    }
    try:
        lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma1])
    except (lzma.LZMAError, ValueError) as error:
        raise ReplayError(Reason.BAD_ARCHIVE, f"LZMA properties: {error}"[:200]) from error
    return packed[header.size :], lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma1])

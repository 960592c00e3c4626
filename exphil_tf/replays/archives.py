"""Zips and tars of replays: what they hold, and one member's bytes.

Archives are never extracted. A source carries the member's place in the archive, so that reading
one costs a seek and not another walk over a directory of 170,000 names, and every member is
decompressed into a bounded buffer: its declared size is a cap, not a promise. Member names are
labels only, whatever they hold; two members of one name are two replays.

A member that cannot be trusted is refused alone. The whole archive is refused only where members
overlap or are too many; what was listed before a damaged place stands, with one line for the rest.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from exphil_tf.replays import decompression, formats, slp, tar_copies, tar_members, zip_directory
from exphil_tf.replays.files import errno_name, open_regular
from exphil_tf.replays.formats import Kind
from exphil_tf.replays.listing import IN_TAR, Found, Refused, Source
from exphil_tf.replays.refusals import Reason, ReplayError

MAX_RATIO = 200
"""Most bytes out per byte in; replays compress about 4 to 12 times."""
MAX_ENTRIES = 2_000_000
"""Ten times as many as the largest collections hold."""
MAX_NAME_BYTES = 256 << 20
"""Most letters that the names of one archive may have together."""
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED = 0x2041
"""Bits for: encrypted, strongly, with a masked directory."""
_REPACK = "repack it as zip"


class _Listing:
    """What is found in one archive, within the bounds that an archive as a whole has."""

    def __init__(self, path: str) -> None:
        self.found = Found([], [])
        self._path = path
        self._entries = self._letters = self._packed = 0

    def count(self, name: str) -> None:
        """Counts a member, wanted or not."""
        self._entries += 1
        self._letters += len(name)
        if self._entries > MAX_ENTRIES or self._letters > MAX_NAME_BYTES:
            raise ReplayError(
                Reason.ZIP_BOMB,
                f"want at most {MAX_ENTRIES} entries and {MAX_NAME_BYTES} letters in their names",
            )

    def add(self, source: Source) -> None:
        self.found.sources.append(source)
        self._packed += source.packed

    def refuse(self, name: str, error: ReplayError) -> None:
        label = f"{self._path}!{name}" if name else self._path
        self.found.refused.append(Refused(label, error.reason, error.detail))

    def check_overlap(self, archive_bytes: int) -> None:
        if self._packed > archive_bytes:
            raise ReplayError(
                Reason.ZIP_BOMB, "members overlap: together they are larger than the archive"
            )

    def fail(self, error: ReplayError) -> None:
        """Ends the listing: a bomb takes all back, damage leaves what came before it."""
        if error.reason is not Reason.BAD_ARCHIVE:
            self.found.sources.clear()
            self.found.refused.clear()
        self.refuse("", error)


def _check_wanted(name: str) -> None:
    """Raises ReplayError for members that are archives themselves."""
    if formats.kind_of(name) not in (Kind.REPLAY, Kind.PACKED):
        raise ReplayError(Reason.NESTED_ARCHIVE, "archives inside archives are not opened")


def _is_promising(name: str) -> bool:
    """Whether a member may hold replays."""
    return formats.kind_of(name) is not None and not formats.is_hidden_member(name)


def _check_size(name: str, size: int) -> None:
    """Raises ReplayError for a size that no replay has; a packed one may be small."""
    slp.check_size(size, at_least=0 if formats.packing_of(name) else slp.MIN_BYTES)


# -- Zips ------------------------------------------------------------------------------------------


def list_zip(path: str) -> Found:
    """Replays in a zip, and what is refused of it."""
    listing = _Listing(path)
    try:
        with open_regular(path) as file:
            archive_bytes = os.fstat(file.fileno()).st_size
            for entry in zip_directory.entries(file):
                listing.count(entry.name)
                _add_zip_member(listing, entry, path=path, archive_bytes=archive_bytes)
                listing.check_overlap(archive_bytes)
    except ReplayError as error:
        listing.fail(error)
    except OSError as error:
        listing.fail(ReplayError(Reason.UNREADABLE, errno_name(error)))
    return listing.found


def _add_zip_member(
    listing: _Listing, entry: zip_directory.Entry, *, path: str, archive_bytes: int
) -> None:
    if entry.name.endswith("/") or not _is_promising(entry.name):
        return
    try:
        _check_wanted(entry.name)
        _check_zip_member(entry, archive_bytes)
    except ReplayError as error:
        listing.refuse(entry.name, error)
        return
    listing.add(
        Source(
            path,
            name=entry.name,
            size=entry.size,
            offset=entry.offset,
            packed=entry.packed,
            method=entry.method,
            crc=entry.crc,
        )
    )


def _check_zip_member(entry: zip_directory.Entry, archive_bytes: int) -> None:
    if entry.flags & _ENCRYPTED:
        raise ReplayError(Reason.ENCRYPTED)
    if entry.method not in decompression.METHODS:
        raise ReplayError(
            Reason.BAD_ARCHIVE,
            f"want a method of {decompression.METHODS}. Received: {entry.method}: {_REPACK}",
        )
    _check_size(entry.name, entry.size)
    _check_ratio(entry.size, entry.packed)
    if not 0 <= entry.offset <= archive_bytes - entry.packed:
        raise ReplayError(Reason.BAD_ARCHIVE, "the directory places it outside the archive")


def _check_ratio(size: int, packed: int) -> None:
    if size > MAX_RATIO * max(packed, 1):
        raise ReplayError(
            Reason.ZIP_BOMB, f"{packed} bytes expand to {size}, want at most {MAX_RATIO} times"
        )


# -- Tars ------------------------------------------------------------------------------------------


def list_tar(path: str, *, copy: bool = True) -> Found:
    """Replays in a tar, and what is refused of it.

    Args:
      path: of the archive.
      copy: whether the replays of a compressed one may be copied (see `tar_copies`).
    """
    listing = _Listing(path)
    try:
        with open_regular(path) as file:
            packing = formats.packing_of(path)
            if not packing:
                _list_plain(listing, file, path=path)
            elif copy:
                _list_packed(listing, file, path=path)
            else:
                raise ReplayError(
                    Reason.BAD_ARCHIVE,
                    f"compressed tars are read where the job is started only: {_REPACK}",
                )
    except ReplayError as error:
        listing.fail(error)
    except OSError as error:
        listing.fail(ReplayError(Reason.UNREADABLE, errno_name(error)))
    return listing.found


def _list_plain(listing: _Listing, file: BinaryIO, *, path: str) -> None:
    length = os.fstat(file.fileno()).st_size
    for member in _replays(listing, tar_members.Forward(file, length)):
        if member.offset + member.size > length:
            raise tar_members.cut_off()
        listing.add(
            Source(path, member.name, member.size, member.offset, member.size, method=IN_TAR)
        )


def _replays(listing: _Listing, stream: tar_members.Forward) -> Iterator[tar_members.Member]:
    """Members that are replays of acceptable size; others are refused or passed over."""
    for member in tar_members.members(stream):
        listing.count(member.name)
        if not _is_promising(member.name):
            continue
        try:
            _check_wanted(member.name)
            if member.fault:
                raise ReplayError(Reason.NOT_A_FILE, member.fault)
            _check_size(member.name, member.size)
        except ReplayError as error:
            listing.refuse(member.name, error)
            continue
        yield member


def _list_packed(listing: _Listing, file: BinaryIO, *, path: str) -> None:
    length = os.fstat(file.fileno()).st_size
    unpacked = decompression.open_packed(file, formats.packing_of(path))
    stream = tar_members.Forward(unpacked, max(1 << 20, MAX_RATIO * length))
    with tar_copies.Copy(path) as copy:
        try:
            for member in _replays(listing, stream):
                data = stream.read(member.size)
                if len(data) < member.size:
                    raise tar_members.cut_off()
                listing.add(_copied(copy, member.name, data))
        except ReplayError as error:
            if error.reason is not Reason.BAD_ARCHIVE:
                raise  # takes all back, the copy too
            listing.fail(error)


def _copied(copy: tar_copies.Copy, name: str, data: bytes) -> Source:
    try:
        return copy.add(name, data)
    except OSError as error:
        place = tempfile.gettempdir()
        detail = f"{errno_name(error)}: no room in {place} for a copy: set TMPDIR, or {_REPACK}"
        raise ReplayError(Reason.UNREADABLE, detail) from error


# -- Reading ---------------------------------------------------------------------------------------


def read_member(source: Source) -> bytes:
    """The member's bytes, as they lie in the archive unpacked, never more than `slp.MAX_BYTES`.

    Raises:
      ReplayError: not_a_file, unreadable, too_small, too_big, bad_archive, zip_bomb.
    """
    _check_size(source.name, source.size)
    with _open_holder(source) as file:
        try:
            packed = _packed_bytes(file, source)
        except (OSError, ValueError, OverflowError) as error:
            name = errno_name(error) if isinstance(error, OSError) else str(error)
            raise ReplayError(Reason.UNREADABLE, name) from error
    if source.method == IN_TAR:
        if len(packed) != source.size:
            raise tar_members.cut_off()
        return packed
    data = decompression.unpack_member(packed, source.method, source.size)
    if len(data) != source.size or zlib.crc32(data) != source.crc:
        raise ReplayError(Reason.BAD_ARCHIVE, "the member is not what the archive's directory says")
    return data


def _open_holder(source: Source) -> BinaryIO:
    if not source.copy:
        return open_regular(source.path)
    try:
        return open_regular(source.copy)
    except ReplayError as error:
        detail = f"its copy is not on this machine, or gone: {_REPACK} to read it anywhere"
        raise ReplayError(Reason.UNREADABLE, detail) from error


def _packed_bytes(file: BinaryIO, source: Source) -> bytes:
    file.seek(source.offset)
    if source.method != IN_TAR:
        _check_ratio(source.size, source.packed)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise ReplayError(Reason.BAD_ARCHIVE, "no member where the archive's directory says")
        *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
    # A stored member longer than its declared size is refused by its length afterwards.
    return file.read(min(source.packed, slp.MAX_BYTES + 1))

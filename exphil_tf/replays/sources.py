"""Where replays come from: folders, zips and files, turned into one flat list of sources.

A *source* is one replay that somebody can read later, anywhere: a path, or a path to a zip and
where in it a member lies. It is small and JSON-able, so a million of them travel through a pipeline
while the bytes stay on disk.

Archives are never extracted. A source carries the member's place in the archive, so that reading
one costs a seek and not another walk over a directory of 100,000 names, and every member is
inflated into a bounded buffer: its declared size is a cap, not a promise. Member names are labels
only. Links are followed (replay drives are full of them); a folder reached twice, or through a
loop, is read once, and only regular files are ever opened.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from exphil_tf.replays import slp
from exphil_tf.replays.errors import Reason, ReplayError

MAX_RATIO = 200
"""Most bytes out per byte in; replays compress about 4 to 12 times."""
MAX_ENTRIES = 100_000
MAX_ARCHIVE_BYTES = 1 << 40
"""Most bytes that the members of one archive may declare together."""
_MAX_DIRECTORY_BYTES = 64 << 20
_ARCHIVES = (".zip",)
_OTHER_ARCHIVES = (".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".slpz")
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error)
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")


class Source(NamedTuple):
    """One replay to be read.

    Attributes:
      path: of the file, or of the zip that holds it.
      name: of the zip member; empty for a plain file.
      size: declared bytes of the replay.
      offset: of the member's local header in the zip; 0 for a plain file.
      packed: compressed bytes of the member; 0 for a plain file.
      method: zip compression method, 0 stored or 8 deflated.
      crc: CRC-32 of the member.
    """

    path: str
    name: str = ""
    size: int = 0
    offset: int = 0
    packed: int = 0
    method: int = 0
    crc: int = 0

    @property
    def label(self) -> str:
        """What to call it in a message: `path`, or `archive.zip!member.slp`."""
        return f"{self.path}!{self.name}" if self.name else self.path


class Refused(NamedTuple):
    """Something that looked like replays but cannot be read."""

    label: str
    reason: Reason
    detail: str


class Found(NamedTuple):
    """What a collection holds, in the order of paths, then of names inside an archive."""

    sources: list[Source]
    refused: list[Refused]


def find(replays: Iterable[str | Path]) -> Found:
    """Every replay in the given folders, zips and files.

    Folders are searched for `*.slp` and `*.zip` in any case; hidden names (`.…`, `__MACOSX`) are
    skipped. A file given by itself is taken whatever its name. The order and the result do not
    depend on the order of `replays`.

    Raises:
      FileNotFoundError: if one of `replays` does not exist.
    """
    paths: dict[str, str] = {}
    sources: list[Source] = []
    refused: list[Refused] = []
    seen: set[tuple[int, int]] = set()
    for given in sorted(str(path) for path in replays):
        if not os.path.lexists(given):
            raise FileNotFoundError(errno.ENOENT, "no such file or folder", given)
        for path in _walk(given, seen, refused) if Path(given).is_dir() else [given]:
            paths.setdefault(os.path.realpath(path), path)
    for path in sorted(paths.values()):
        try:
            _add(path, sources, refused)
        except ReplayError as error:
            refused.append(Refused(path, error.reason, error.detail))
    return Found(sorted(sources), sorted(refused))


def _walk(folder: str, seen: set[tuple[int, int]], refused: list[Refused]) -> Iterator[str]:
    """Paths of replays and zips below `folder`; each real folder once, so loops of links end."""
    try:
        status = Path(folder).stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        refused.append(Refused(folder, Reason.UNREADABLE, _errno_name(error)))
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if _is_hidden(entry.name):
            continue
        if Path(entry.path).is_dir():
            yield from _walk(entry.path, seen, refused)
        elif entry.name.lower().endswith((".slp", *_ARCHIVES)):
            yield entry.path


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _add(path: str, sources: list[Source], refused: list[Refused]) -> None:
    suffix = Path(path).suffix.lower()
    if suffix in _OTHER_ARCHIVES:
        raise ReplayError(Reason.BAD_ARCHIVE, f"want .slp or .zip. Received: {suffix}")
    if suffix not in _ARCHIVES:
        size = Path(path).stat().st_size if Path(path).is_file() else 0
        sources.append(Source(path, size=size))
        return
    found = _list_zip(path)
    sources.extend(found.sources)
    refused.extend(found.refused)


# -- Archives --------------------------------------------------------------------------------------


def _open_regular(path: str) -> BinaryIO:
    """The file for reading, without ever blocking on a pipe or device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
        reason = Reason.NOT_A_FILE if gone else Reason.UNREADABLE
        raise ReplayError(reason, _errno_name(error)) from error
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise ReplayError(Reason.NOT_A_FILE, "want a regular file")
    return file


def _list_zip(path: str) -> Found:
    """Replays in a zip, and the members that are refused.

    Raises:
      ReplayError: if the archive as a whole cannot be trusted.
    """
    with _open_regular(path) as file:
        _check_directory(file)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except _ZIP_ERRORS as error:
            raise ReplayError(Reason.BAD_ARCHIVE, str(error)[:200]) from error
        _check_totals(members, os.fstat(file.fileno()).st_size)
    sources: list[Source] = []
    refused: list[Refused] = []
    for member in members:
        if not _is_wanted(member):
            continue
        try:
            sources.append(_member_source(path, member))
        except ReplayError as error:
            refused.append(
                Refused(f"{path}!{_printable(member.filename)}", error.reason, error.detail)
            )
    return Found(sources, refused)


def _check_directory(file: BinaryIO) -> None:
    """Refuses a central directory too big to be read into memory, before `zipfile` does so."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - (1 << 16) - 128))
    tail = file.read()
    sizes: list[int] = []
    for signature, code, offset in ((b"PK\x05\x06", "<I", 12), (b"PK\x06\x06", "<Q", 40)):
        at = tail.rfind(signature)
        if at >= 0 and at + offset + struct.calcsize(code) <= len(tail):
            sizes.append(struct.unpack_from(code, tail, at + offset)[0])
    if not sizes:
        raise ReplayError(Reason.BAD_ARCHIVE, "no end of central directory: not a zip, or cut off")
    if any(_MAX_DIRECTORY_BYTES < size != 0xFFFFFFFF for size in sizes):
        raise ReplayError(
            Reason.ZIP_BOMB,
            f"a directory of {max(sizes)} bytes, want at most {_MAX_DIRECTORY_BYTES}",
        )
    file.seek(0)


def _check_totals(members: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    """Refuses archives of too many, overlapping or together implausibly large members."""
    if len(members) > MAX_ENTRIES:
        raise ReplayError(Reason.ZIP_BOMB, f"{len(members)} entries, want at most {MAX_ENTRIES}")
    if sum(member.compress_size for member in members) > archive_bytes:
        raise ReplayError(
            Reason.ZIP_BOMB, "members overlap: together they are larger than the archive"
        )
    total = sum(member.file_size for member in members)
    if total > min(MAX_ARCHIVE_BYTES, MAX_RATIO * archive_bytes):
        raise ReplayError(Reason.ZIP_BOMB, f"{total} bytes out of {archive_bytes}")


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if member.is_dir() or not parts or any(_is_hidden(part) and part != ".." for part in parts):
        return False
    return parts[-1].lower().endswith((".slp", *_ARCHIVES, *_OTHER_ARCHIVES))


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200]


def _member_source(path: str, member: zipfile.ZipInfo) -> Source:
    name = member.filename.replace("\\", "/")
    if not name.lower().endswith(".slp"):
        raise ReplayError(Reason.NESTED_ARCHIVE, "archives inside archives are not opened")
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/") or ":" in parts[0] or _printable(name) != name:
        raise ReplayError(
            Reason.BAD_NAME, "want a relative name of printable characters, at most 200"
        )
    if member.flag_bits & 0x41:
        raise ReplayError(Reason.ENCRYPTED)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ReplayError(
            Reason.BAD_ARCHIVE, f"want stored or deflated. Received: method {member.compress_type}"
        )
    slp.check_size(member.file_size)
    _check_ratio(member.file_size, member.compress_size)
    return Source(
        path,
        name=name,
        size=member.file_size,
        offset=member.header_offset,
        packed=member.compress_size,
        method=member.compress_type,
        crc=member.CRC,
    )


def _check_ratio(size: int, packed: int) -> None:
    if size > MAX_RATIO * max(packed, 1):
        raise ReplayError(
            Reason.ZIP_BOMB, f"{packed} bytes expand to {size}, want at most {MAX_RATIO} times"
        )


# -- Reading ---------------------------------------------------------------------------------------


def read_bytes(source: Source) -> bytes:
    """The replay's bytes, never more than `slp.MAX_BYTES`.

    Raises:
      ReplayError: why it cannot be read (not_a_file, unreadable, too_small, too_big, bad_archive,
      zip_bomb).
    """
    if not source.name:
        return slp.read_bytes(source.path)
    slp.check_size(source.size)
    _check_ratio(source.size, source.packed)
    with _open_regular(source.path) as file:
        try:
            packed = _packed_bytes(file, source)
        except OSError as error:
            raise ReplayError(Reason.UNREADABLE, _errno_name(error)) from error
    data = _inflate(packed, source.size) if source.method == zipfile.ZIP_DEFLATED else packed
    if len(data) != source.size or zlib.crc32(data) != source.crc:
        raise ReplayError(Reason.BAD_ARCHIVE, "the member is not what the archive's directory says")
    return data


def _packed_bytes(file: BinaryIO, source: Source) -> bytes:
    file.seek(source.offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise ReplayError(Reason.BAD_ARCHIVE, "no member where the archive's directory says")
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
    # A stored member longer than its declared size is refused by its length afterwards.
    return file.read(min(source.packed, slp.MAX_BYTES + 1))


def _inflate(packed: bytes, size: int) -> bytes:
    """At most `size + 1` inflated bytes: one more than promised is enough to know of the lie."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflater.decompress(packed, size + 1)
    except zlib.error as error:
        raise ReplayError(Reason.BAD_ARCHIVE, str(error)[:200]) from error

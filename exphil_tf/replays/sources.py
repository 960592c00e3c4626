"""Where replays come from: folders, archives and files, turned into one flat list of sources.

Every file whose name promises replays (see `formats`) is either a source or refused with a reason.
Read are `.slp`, replays packed one by one (`.slpz`, `.slp.gz`…) and the members of zips and tars,
which may be packed too; archives inside archives, and the rest, are named. Nothing is extracted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from exphil_tf.replays import archives, decompression, formats, slp, tar_copies
from exphil_tf.replays.files import errno_name
from exphil_tf.replays.formats import Kind
from exphil_tf.replays.listing import Found, Refused, Source
from exphil_tf.replays.refusals import Reason
from exphil_tf.replays.walk import Seen, real_path, walk

__all__ = ["Found", "Refused", "Source", "find", "is_plain", "read_bytes", "unwrap"]


def find(replays: Iterable[str | Path], *, copy: bool = True) -> Found:
    """Every replay in the given folders, archives and files.

    Folders are searched to any depth; hidden names (`.…`, `__MACOSX`) are skipped. A file given by
    itself is taken whatever its name. The order and the result do not depend on the order of
    `replays`.

    Args:
      replays: paths.
      copy: whether replays in compressed tars may be copied to the temporary folder, where only
        processes of this machine can read them (see `tar_copies`).

    Raises:
      FileNotFoundError: if one of `replays` does not exist.
    """
    tar_copies.sweep()
    paths: dict[str, str] = {}
    found = Found([], [])
    seen: Seen = set()
    for given in sorted({str(path) for path in replays}):
        if not _is_given_file(given, found.refused):
            continue
        if os.path.isdir(given):  # noqa: PTH112 - Path.is_dir raises where it may not look
            files = walk(given, seen, found.refused)
        else:
            files = [(real_path(given), given)]
        for real, path in files:
            paths.setdefault(real, path)
    for path in sorted(paths.values()):
        one = _list(path, copy=copy)
        found.sources.extend(one.sources)
        found.refused.extend(one.refused)
    return Found(sorted(found.sources), sorted(found.refused))


def _is_given_file(given: str, refused: list[Refused]) -> bool:
    """Whether a given path is there; refuses one at which the system won't let us look.

    Raises:
      FileNotFoundError: if it is not there.
    """
    try:
        os.lstat(given)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", given) from error
    except OSError as error:
        refused.append(Refused(given, Reason.UNREADABLE, errno_name(error)))
        return False
    return True


def _list(path: str, *, copy: bool) -> Found:
    """What one file holds, by its name."""
    kind = formats.kind_of(path)
    if kind is Kind.ZIP:
        return archives.list_zip(path)
    if kind is Kind.TAR:
        return archives.list_tar(path, copy=copy)
    if kind is Kind.OTHER:
        return Found([], [Refused(path, Reason.BAD_ARCHIVE, formats.refusal(path))])
    return Found([Source(path, size=_file_size(path))], [])


def _file_size(path: str) -> int:
    """0 for what is no file or can't be seen: reading it will say why."""
    try:
        return os.stat(path).st_size if os.path.isfile(path) else 0  # noqa: PTH113, PTH116
    except OSError:
        return 0


def is_plain(source: Source) -> bool:
    """Whether the source's file is the replay as it is, which a native reader may open."""
    return not source.name and not formats.packing_of(source.path)


def read_bytes(source: Source) -> bytes:
    """The replay's bytes, never more than `slp.MAX_BYTES`.

    Raises:
      ReplayError: why it cannot be read (not_a_file, unreadable, too_small, too_big, bad_archive,
      zip_bomb).
    """
    if is_plain(source):
        return slp.read_bytes(source.path)
    if source.name:
        return unwrap(source, archives.read_member(source))
    return unwrap(source, slp.read_bytes(source.path, at_least=0))


def unwrap(source: Source, data: bytes) -> bytes:
    """The replay in what a source's file or member holds, which may be packed.

    Raises:
      ReplayError: bad_archive, zip_bomb or too_small.
    """
    return decompression.unwrap(data, formats.packing_of(source.name or source.path))

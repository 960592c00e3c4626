"""Folders, searched without recursion: whatever cannot be looked into costs one line, not the job.

Links are followed; a folder reached twice, or through a loop, is read once. Replay drives are full
of links, of other people's folders and of trees that a backup nested into itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from exphil_tf.replays import formats
from exphil_tf.replays.files import errno_name, open_error
from exphil_tf.replays.listing import Refused
from exphil_tf.replays.refusals import Reason

Seen = set[tuple[int, int]]
"""Device and inode of each folder that was read."""


def walk(folder: str, seen: Seen, refused: list[Refused]) -> Iterator[tuple[str, str]]:
    """Files below `folder` whose names promise replays, as (real path, path), in a fixed order.

    Args:
      folder: where to begin.
      seen: folders that are not read again; added to.
      refused: takes a line for each thing that may hold replays and cannot be looked at.
    """
    waiting = [(folder, real_path(folder))]
    while waiting:
        path, real = waiting.pop()
        folders: list[tuple[str, str]] = []
        for entry in _entries(path, seen, refused):
            if formats.is_hidden(entry.name):
                continue
            found = (entry.path, _real_entry(entry, real))
            if _is_folder(entry, refused):
                folders.append(found)
            elif formats.kind_of(entry.name) is not None:
                yield found[1], found[0]
        waiting.extend(reversed(folders))


def _entries(folder: str, seen: Seen, refused: list[Refused]) -> list[os.DirEntry[str]]:
    """A folder's entries by name; as far as they can be listed."""
    entries: list[os.DirEntry[str]] = []
    try:
        status = os.stat(folder)  # noqa: PTH116 - a path may be anything
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            return []
        seen.add(identity)
        with os.scandir(folder) as listed:
            entries.extend(listed)
    except (OSError, ValueError) as error:
        detail = errno_name(error) if isinstance(error, OSError) else str(error)
        refused.append(Refused(folder, Reason.UNREADABLE, detail))
    return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str], refused: list[Refused]) -> bool:
    """Whether an entry leads to a folder.

    What the system won't say is taken for a file, whose reading then gives the reason; if its name
    promises no replay it may have been a folder of them, and is refused here. A link to nowhere
    holds nothing.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        reason = open_error(error).reason
        if formats.kind_of(entry.name) is None and reason is Reason.UNREADABLE:
            refused.append(Refused(entry.path, reason, errno_name(error)))
        return False


def _real_entry(entry: os.DirEntry[str], real_folder: str) -> str:
    with contextlib.suppress(OSError):
        if entry.is_symlink() and entry.stat():  # to nowhere: its own name is the real one
            return real_path(entry.path)
    return os.path.join(real_folder, entry.name)  # noqa: PTH118


def real_path(path: str) -> str:
    """The path without links, as far as that can be known."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError, RecursionError):  # chains of links are followed recursively
        return os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps `..`

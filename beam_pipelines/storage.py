"""Reading and writing on a disk or, through Beam, on an object store (`gs://…`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from exphil_tf.foundation.atomic import TEMPORARY, Written, write_file
from exphil_tf.replays import formats, slp, sources
from exphil_tf.replays.formats import Kind
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.sources import Found, Refused, Source


def is_remote(path: str) -> bool:
    """Whether a path names an object store."""
    return "://" in path


def find(replays: Iterable[str], *, copy: bool = True) -> Found:
    """`sources.find`, which also takes objects on a store, and folders of them.

    Replays are read there, packed or not. Archives on a store are refused: each member would cost
    the whole object.
    """
    replays = list(replays)
    found = sources.find([path for path in replays if not is_remote(path)], copy=copy)
    stored: set[Source] = set()
    refused: set[Refused] = set()
    for path in replays:
        if is_remote(path):
            one = _find_stored(path)
            stored.update(one.sources)
            refused.update(one.refused)
    return Found(sorted([*found.sources, *stored]), sorted([*found.refused, *refused]))


def _find_stored(path: str) -> Found:
    """What lies under one remote path; one refusal if the store won't say."""
    pattern = f"{path.rstrip('/')}/**" if formats.kind_of(path) is None else path
    found = Found([], [])
    try:
        for match in FileSystems.match([pattern]):
            for item in match.metadata_list:
                _add_stored(found, item)
    except (OSError, BeamIOError) as error:
        detail = f"{type(error).__name__}: {error}"
        found.refused.append(Refused(path, Reason.UNREADABLE, " ".join(detail.split())[:200]))
    return found


def _add_stored(found: Found, item: FileMetadata) -> None:
    name = item.path.rpartition("/")[2]
    kind = None if formats.is_hidden(name) else formats.kind_of(name)
    if kind in (Kind.REPLAY, Kind.PACKED):
        found.sources.append(Source(item.path, size=item.size_in_bytes))
    elif kind is not None:
        detail = "archives on a store are not read: copy it to a disk, or unpack it there"
        found.refused.append(Refused(item.path, Reason.BAD_ARCHIVE, detail))


def read(source: Source) -> bytes:
    """A remote replay's bytes.

    Raises:
      ReplayError: too_small, too_big, unreadable, bad_archive or zip_bomb.
    """
    at_least = slp.MIN_BYTES if sources.is_plain(source) else 0
    slp.check_size(source.size, at_least=at_least)
    try:
        with FileSystems.open(source.path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            data = file.read(slp.MAX_BYTES + 1)
    except OSError as error:
        raise ReplayError(Reason.UNREADABLE, type(error).__name__) from error
    slp.check_size(len(data), at_least=at_least)
    return sources.unwrap(source, data)


def join(folder: str, name: str) -> str:
    """The path of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def create(path: str) -> BinaryIO:
    """A new file to be written from start to end; folders are made."""
    if not is_remote(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("xb")
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_file(path: str) -> BinaryIO:
    """A file to be read."""
    if not is_remote(path):
        return Path(path).open("rb")
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def remove_folder(folder: str) -> None:
    """Deletes a folder of a store and all that lies in it, if it is there."""
    if FileSystems.match([f"{folder}/*"])[0].metadata_list:
        FileSystems.delete([f"{folder}/"])


def write(folder: str, name: str, parts: Iterable[bytes]) -> Written:
    """Writes `folder/name` whole or not at all; see `atomic.write_file`."""
    if not is_remote(folder):
        return write_file(Path(folder) / name, parts)
    return _write_through_beam(folder, name, parts)


def _write_through_beam(folder: str, name: str, parts: Iterable[bytes]) -> Written:
    temporary = FileSystems.join(folder, f"{TEMPORARY}{name}")
    digest, size = hashlib.sha256(), 0
    with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for part in parts:
            digest.update(part)
            size += len(part)
            file.write(part)
    target = FileSystems.join(folder, name)
    if FileSystems.exists(target):
        FileSystems.delete([target])
    FileSystems.rename([temporary], [target])
    return Written(name, digest.hexdigest(), size)

"""Reading and writing on a disk or, through Beam, on an object store (`gs://…`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from exphil_tf.durable import TEMPORARY, Written, write_file
from exphil_tf.replays import slp, sources
from exphil_tf.replays.errors import Reason, ReplayError
from exphil_tf.replays.sources import Found, Source


def is_remote(path: str) -> bool:
    """Whether a path names an object store."""
    return "://" in path


def find(replays: Iterable[str]) -> Found:
    """`sources.find`, which also takes folders of `.slp` objects on a store."""
    local = [path for path in replays if not is_remote(path)]
    found = sources.find(local)
    patterns = [_pattern(path) for path in replays if is_remote(path)]
    for match in FileSystems.match(patterns) if patterns else []:
        found.sources.extend(
            Source(item.path, size=item.size_in_bytes)
            for item in match.metadata_list
            if item.path.lower().endswith(".slp")
        )
    return Found(sorted(set(found.sources)), found.refused)


def _pattern(path: str) -> str:
    return path if path.lower().endswith(".slp") else f"{path.rstrip('/')}/**"


def read(source: Source) -> bytes:
    """A remote replay's bytes.

    Raises:
      ReplayError: too_small, too_big or unreadable.
    """
    slp.check_size(source.size)
    try:
        with FileSystems.open(source.path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            data = file.read(slp.MAX_BYTES + 1)
    except OSError as error:
        raise ReplayError(Reason.UNREADABLE, type(error).__name__) from error
    slp.check_size(len(data))
    return data


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
    """Writes `folder/name` whole or not at all; see `durable.write_file`."""
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

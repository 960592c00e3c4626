"""Where encoded games wait for their shard: in the element, or in a file on the output's disk.

A local runner keeps everything that crosses a GroupByKey in memory, which would hold the whole
dataset there. With an output on a disk, elements therefore carry only a reference into a spill
file, and memory stays small however large the collection is. The folder's name begins like every
unfinished thing, so the next run sweeps what a killed one left.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from exphil_tf.durable import TEMPORARY

SPILL = f"{TEMPORARY}spill"
_READ_BYTES = 1 << 22


class Spill:
    """An append-only file of one worker.

    Args:
      folder: the spill folder; None keeps bytes in the elements.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._path = ""

    def pack(self, header: dict[str, Any], data: bytes) -> bytes:
        """An element: the header as a line of JSON, then the bytes if they stay inline."""
        if self._folder is not None:
            header = header | {"spill": self._append(data)}
            data = b""
        return json.dumps(header).encode() + b"\n" + data

    def _append(self, data: bytes) -> list[Any]:
        if self._file is None:
            folder = Path(self._folder or "")
            folder.mkdir(parents=True, exist_ok=True)
            self._path = str(folder / f"{uuid.uuid4().hex}.part")
            self._file = Path(self._path).open("ab")  # noqa: SIM115 - closed by `close`
        offset = self._file.tell()
        self._file.write(data)
        return [self._path, offset, len(data)]

    def flush(self) -> None:
        """Makes what was appended readable by other processes."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Closes the file; it stays readable."""
        if self._file is not None:
            self._file.close()
            self._file = None


def unpack(element: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and inline bytes of an element."""
    line, _, data = element.partition(b"\n")
    return json.loads(line), data


def read(header: dict[str, Any], inline: bytes) -> Iterator[bytes]:
    """The bytes of an element, in parts.

    Raises:
      OSError: if the spill file is gone or shorter than it was.
    """
    if "spill" not in header:
        yield inline
        return
    path, offset, size = header["spill"]
    with Path(path).open("rb") as file:
        file.seek(offset, os.SEEK_SET)
        while size:
            part = file.read(min(size, _READ_BYTES))
            if not part:
                raise OSError(5, "spill file is cut off", path)
            size -= len(part)
            yield part

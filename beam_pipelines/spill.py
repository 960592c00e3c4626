"""Where encoded games wait until all games are known: in files beside the output.

Runners keep what crosses a GroupByKey in memory or send it through one worker, which would hold the
whole dataset there. So elements carry only a reference into a spill file, on the output's disk or
object store, and memory stays small however large the collection is. The folder's name begins like
every unfinished thing, so the next run sweeps what a killed one left.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import BinaryIO

from beam_pipelines import storage
from exphil_tf.foundation.atomic import TEMPORARY
from exphil_tf.preprocessing.encoded_games import Place

SPILL = f"{TEMPORARY}spill"


class Spill:
    """Files of one worker, each written once from start to end.

    Args:
      folder: the spill folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._path, self._size = "", 0

    def append(self, parts: Sequence[bytes]) -> Place:
        """Writes a game's parts; readable after `close`."""
        if self._file is None:
            self._path, self._size = storage.join(self._folder, f"{uuid.uuid4().hex}.part"), 0
            self._file = storage.create(self._path)
        place = Place(self._path, self._size, tuple(map(len, parts)))
        for part in parts:
            self._file.write(part)
            self._size += len(part)
        return place

    def close(self) -> None:
        """Ends the file, for others to read; the next game begins another."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read(place: Place, part: int) -> bytes:
    """One part of a game.

    Raises:
      OSError: if the spill file is gone or shorter than it was.
    """
    with storage.open_file(place.path) as file:
        file.seek(place.offset + sum(place.sizes[:part]))
        data = file.read(place.sizes[part])
    if len(data) < place.sizes[part]:
        raise OSError(5, "spill file is cut off", place.path)
    return data

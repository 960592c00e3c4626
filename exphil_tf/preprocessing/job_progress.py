"""How far a job is, told through small files in the spill folder by whatever process works."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import NamedTuple

_INTERVAL_S = 0.2


class Count(NamedTuple):
    """What is done.

    Attributes:
      scanned: files whose header was read.
      done: files that ended in records or rejects.
      games: of these, files that were encoded; some turn out to be duplicates of others.
      frames: of these games.
    """

    scanned: int = 0
    done: int = 0
    games: int = 0
    frames: int = 0

    def __add__(self, other: tuple[int, ...]) -> Count:  # type: ignore[override]
        """Sums field by field."""
        return Count(*(a + b for a, b in zip(self, other, strict=True)))


class Reporter:
    """Counts of one worker, written now and then.

    Args:
      folder: the spill folder; None reports nothing.
    """

    def __init__(self, folder: str | None) -> None:
        self._path = None if folder is None else Path(folder) / f"{uuid.uuid4().hex}.count"
        self._count = Count()
        self._written_s = 0.0

    def add(self, count: Count, *, now: bool = False) -> None:
        """Adds to the counts and writes them if the last time is long ago, or at once if `now`."""
        self._count += count
        if self._path is None or (not now and time.monotonic() - self._written_s < _INTERVAL_S):
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._count))
        except OSError:
            return  # progress is never worth a job
        self._written_s = time.monotonic()


def read(folder: Path) -> Count:
    """The sum over all workers; half-written files are skipped until next time."""
    total = Count()
    for path in folder.glob("*.count"):
        try:
            total += Count(*json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
    return total

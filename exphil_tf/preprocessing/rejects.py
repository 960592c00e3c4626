"""What is said of replays that gave no game, besides the counts: their names, on request in a file.

*Damaged* are those that could not be read; a sound game that is not wanted is *excluded* and is
counted only (`replays.filters.Exclusion`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.preprocessing import quality_stats
from exphil_tf.preprocessing.placement import MAX_FILES
from exphil_tf.preprocessing.reject_config import RejectConfig
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import REJECTED, load_manifest
from exphil_tf.replays.filters import Exclusion

MOST_SHOWN = 10
_EXCLUSIONS = frozenset(map(str, Exclusion)) | {MAX_FILES}


class Reject(NamedTuple):
    """A line of `rejected.jsonl`."""

    file: str
    reason: str
    detail: str

    @property
    def is_damaged(self) -> bool:
        """Whether it could not be read, instead of not being wanted."""
        return self.reason not in _EXCLUSIONS

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}{f' ({self.detail})' if self.detail else ''}"


def read(folder: Path) -> Iterator[Reject]:
    """The replays of a dataset that gave no game."""
    with (folder / REJECTED).open("rb") as lines:  # bytes: lines of text end at more than \n
        yield from (of_line(json.loads(line)) for line in lines)


def of_line(line: dict[str, str]) -> Reject:
    """A line that was read."""
    return Reject(str(line["file"]), str(line["reason"]), str(line.get("detail", "")))


def report(folder: Path, config: RejectConfig, console: Console, *, is_new: bool = True) -> None:
    """Does what was asked for about the replays of a dataset, rejected and other.

    Args:
      folder: of the dataset, on this machine.
      config: what was asked for.
      console: where names go.
      is_new: whether the dataset was made just now.

    Raises: UserError: (65) for the first damaged one, if they are to end the command.
    """
    rejects = list(read(folder))
    damaged = [one for one in rejects if one.is_damaged]
    if config.error_log is not None:
        config.error_log.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(
            config.error_log,
            "".join(f"{one}\n" for one in rejects).encode("utf-8", "backslashreplace"),
        )
    if config.fail_fast and damaged:
        raise UserError(
            f"--fail-fast: {damaged[0]}; {len(damaged)} of the replays are damaged",
            "Take them away, or leave --fail-fast out.",
            exit_code=EXIT_DATA,
        )
    if config.show_quality_stats:
        console.print(quality_stats.table(load_manifest(folder), folder))
    if config.show_errors and is_new:
        for one in damaged[:MOST_SHOWN]:
            console.print(f"damaged: {one}")
        if len(damaged) > MOST_SHOWN:
            console.print(f"… and {len(damaged) - MOST_SHOWN} more in {folder / REJECTED}")

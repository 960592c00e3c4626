"""How many games of which length a split has: all that counting its unrolls takes.

The manifest holds this as a histogram, 20 bytes for each length that occurs: it stops growing once
the collection has games of all lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.records.manifest import Manifest, ManifestError


class Length(NamedTuple):
    """Of a game."""

    perspectives: int
    """Bit p: player p may be imitated."""
    frames: int


def game_lengths(manifest: Manifest, split: str, *, folder: Path | None) -> Counter[Length]:
    """Games of a split by length.

    Args:
      manifest: of the dataset.
      split: train, validation or test.
      folder: of the dataset, for errors.

    Raises: UserError: if there are none, or the manifest miscounts them.
    """
    check_split(manifest, split, folder=folder)
    stats = manifest.stats[split]
    found = from_histogram(stats.lengths)
    if found.total() != stats.games:
        raise ManifestError(
            f"{folder}: want lengths of {stats.games} games of {split}. Received: {found.total()}"
        )
    return found


def check_split(manifest: Manifest, split: str, *, folder: Path | str | None) -> None:
    """Refuses a dataset without games in a split; raises UserError."""
    if manifest.frames(split):
        return
    found = ", ".join(sorted(manifest.splits)) or "none"
    raise UserError(
        f"{folder}: no games in split {split!r} (splits: {found}).",
        "Preprocess more replays, or give that split a larger share.",
        exit_code=EXIT_NO_INPUT,
    )


def from_histogram(lengths: Mapping[str, Mapping[str, int]]) -> Counter[Length]:
    """`SplitStats.lengths` with numbers for keys."""
    return Counter(
        {
            Length(int(perspectives), int(frames)): games
            for perspectives, by_frames in lengths.items()
            for frames, games in by_frames.items()
        }
    )

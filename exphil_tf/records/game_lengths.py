"""How many games of which length a split has: all that counting its unrolls takes.

The manifest holds this as a histogram, 20 bytes for each length that occurs: it stops growing once
the collection has games of all lengths. Datasets of format version 2 have it in `games.jsonl` only,
at 300 bytes a game.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.records.manifest import GAMES, Manifest, ManifestError


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
      folder: of the dataset; only a dataset of format version 2 needs it.

    Raises: UserError: if there are none, or those of an old dataset cannot be counted.
    """
    check_split(manifest, split, folder=folder)
    stats = manifest.stats[split]
    if stats.lengths:
        return from_histogram(stats.lengths)
    found = Counter[Length]() if folder is None else _listed(folder / GAMES, split)
    if found.total() != stats.games:
        raise ManifestError(
            f"{folder}: want {stats.games} games of {split} in {GAMES}. Received: {found.total()}"
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


def _listed(path: Path, split: str) -> Counter[Length]:
    try:
        with path.open("rb") as lines:
            games = [game for game in map(json.loads, lines) if game["split"] == split]
        return Counter(Length(int(game["perspectives"]), int(game["frames"])) for game in games)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error

"""How good the games of a dataset are, by the score of `replays.quality`.

A dataset stores no scores: they are found from its frames, when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table

from exphil_tf.features.packing import unpack
from exphil_tf.melee.types import Game, GameInfo
from exphil_tf.records.example import join_rows
from exphil_tf.records.games import split_games
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays import quality

_BINS = 10


def histogram(scores: Iterable[float]) -> dict[str, int]:
    """Games by score, in tens: `0-9` … `90-100`."""
    bins = Counter(min(_BINS - 1, int(score // 10)) for score in scores)
    last = _BINS - 1
    return {f"{10 * i}-{10 * i + 9 + (i == last)}": bins.get(i, 0) for i in range(_BINS)}


def table(manifest: Manifest, folder: Path) -> Table:
    """The scores of a dataset's games, best first.

    Args:
      manifest: of the dataset.
      folder: of the dataset.
    """
    scores = list(_scores(manifest, folder))
    shown = Table("quality", "games", "", title="Quality", title_justify="left")
    shown.columns[1].justify = "right"
    counts = histogram(scores)
    most = max([1, *counts.values()])
    for name, count in reversed(counts.items()):
        shown.add_row(name, f"{count:,}", "█" * round(20 * count / most))
    if scores:
        shown.add_row("mean", f"{sum(scores) / len(scores):.1f}", "")
    return shown


def _scores(manifest: Manifest, folder: Path) -> Iterator[float]:
    for split in manifest.splits:
        for chunks in split_games(manifest, folder, split):
            info = GameInfo(chunks[0].meta.stage, players=())
            yield quality.assess(Game(info, unpack(join_rows(chunks)))).score

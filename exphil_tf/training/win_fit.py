"""Learns a win probability from whole games, apart from the policy: a logistic regression's fit.

A few hundred games are a few hundred outcomes, however many frames they have: a network would learn
them by heart, and a regression learnt batch by batch is as sure of itself as the learning rate, the
length of the run and the games that it came by allow. So the weights of `rewards.win_score` are the
likeliest ones over all games of the train split, at once. No map corrects them afterwards: fitted
on nine tenths of 307 games, the logits of the others want a factor of 1.00.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from exphil_tf.features.packing import unpack_column
from exphil_tf.features.schema import SPOILED
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.records.example import NO_WINNER, Chunk, join_rows
from exphil_tf.records.games import split_games
from exphil_tf.records.manifest import Manifest
from exphil_tf.rewards.win_score import NAMES, START, Weights, score_features

MOST_FRAMES = 20_000_000
"""Some thousand games: more would take minutes to read and move the weights by nothing."""
THINNED = 60
"""A fit looks at every so many frames, which differ little from those between."""
RIDGE = 1e-5
"""Per frame, towards `START`: decides what no frame does, such as the worth of no stock left."""


class WinView(NamedTuple):
    """A game that somebody won, as one player sees it."""

    game: int
    """Number of the game."""
    columns: Mapping[str, np.ndarray]
    """`p.stock` and `p.percent` `[frames, own/opponent]`."""
    won: bool
    """By the own player."""


def win_views(
    manifest: Manifest, folder: Path, split: str, *, max_frames: int = 0
) -> Iterator[WinView]:
    """Views of those who may be imitated, of each game of a split that somebody won.

    Args:
      manifest: of the dataset.
      folder: of the dataset.
      split: whose games.
      max_frames: stop behind the game that reaches it; 0 reads all.
    """
    frames = 0
    for game, chunks in enumerate(split_games(manifest, folder, split)):
        if chunks[0].meta.winner == NO_WINNER:
            continue
        for view in _views(game, chunks):
            frames += len(view.columns["p.stock"])
            yield view
        if max_frames and frames >= max_frames:
            return


def _views(game: int, chunks: list[Chunk]) -> Iterator[WinView]:
    rows, meta = join_rows(chunks), chunks[0].meta
    is_spoiled = (unpack_column(rows, "absent") & SPOILED) > 0
    rows = rows[(unpack_column(rows, "frame") >= GO_FRAME) & ~is_spoiled]
    columns = {name: unpack_column(rows, name) for name in ("p.stock", "p.percent")}
    for player in range(2):
        if meta.perspectives >> player & 1:
            seen = {name: np.roll(column, player, axis=1) for name, column in columns.items()}
            yield WinView(game, seen, meta.winner == player)


def thinned(view: WinView) -> WinView:
    """Every `THINNED`th frame of a view."""
    return view._replace(columns={name: c[::THINNED] for name, c in view.columns.items()})


def fit_win_weights(views: Iterable[WinView]) -> Weights | None:
    """The likeliest weights; None if nobody is known to have won.

    Args:
      views: of games to learn from, all their frames or `thinned`.
    """
    found = list(views)
    if not found:
        return None
    features = np.concatenate([score_features(view.columns) for view in found])
    won = np.concatenate([np.full(len(v.columns["p.stock"]), float(v.won)) for v in found])
    weights = fit_logistic(features.astype(np.float64), won, start=np.array(START))
    return dict(zip(NAMES, weights.tolist(), strict=True))


def fit_logistic(features: np.ndarray, won: np.ndarray, *, start: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression, by Newton's method.

    Args:
      features: float64 `[frames, n]`.
      won: float64 `[frames]`, 0 or 1.
      start: float64 `[n]`, weights that a ridge draws to.
    """
    weights, ridge = start.astype(np.float64), RIDGE * np.eye(len(start))
    for _ in range(100):
        chance = 0.5 + 0.5 * np.tanh(0.5 * (features @ weights))
        slope = features.T @ (chance - won) / len(won) + ridge @ (weights - start)
        bend = (features * (chance * (1 - chance))[:, None]).T @ features / len(won) + ridge
        step = np.linalg.solve(bend, slope)
        # A step of full length may overshoot where hardly any frame is undecided.
        weights = weights - step * min(1.0, 2.0 / np.abs(step).max(initial=1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return weights

"""How good a win probability is on games that it has not seen, and how far that can be told.

A game is one outcome, however many frames it has, so everything uncertain is bootstrapped over
whole games. The calibration error is above 0 by chance alone: how large a perfectly calibrated
forecast would show it on as many games is told by the same draws, with each bin's mean gap between
forecast and outcome taken away.

Two forecasts stand beside it, fitted on games of the train split: the *base rate*, and the *lead*,
a logistic regression on leads in stocks and percent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from exphil_tf.evaluation.episodes import split_games
from exphil_tf.evaluation.results import Calibration, Interval, WinForecast, WinMetrics
from exphil_tf.features.packing import perspective_order, unpack_column
from exphil_tf.features.schema import SPOILED
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.records.example import NO_WINNER, Chunk, join_rows
from exphil_tf.records.manifest import Manifest
from exphil_tf.rewards.win_score import Weights, win_probability

BINS = 15
DRAWS = 1000
"""Of the bootstrap."""
COVERED = 0.95
"""Of the intervals."""
THINNED = 60
"""The lead is fitted on every so many frames, which are hardly more alike than all of them."""
_READ = ("p.stock", "p.percent")
_RIDGE = 1e-6


class WinView(NamedTuple):
    """A game that somebody won, as one player sees it."""

    game: int
    """Number of the game."""
    columns: Mapping[str, np.ndarray]
    """`p.stock` and `p.percent` `[frames, own/opponent]`."""
    won: bool
    """By the own player."""


Forecast = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From columns `[frames, own/opponent]` to probabilities `[frames]`."""


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
    for player in range(2):
        if meta.perspectives >> player & 1:
            seen = rows[:, perspective_order(player)]
            columns = {name: unpack_column(seen, name) for name in _READ}
            yield WinView(game, columns, meta.winner == player)


def measure_wins(
    train: Iterable[WinView], views: Iterable[WinView], weights: Weights
) -> WinMetrics | None:
    """Scores a win probability; None if there is no view to fit or to measure on.

    Args:
      train: that the other forecasts are fitted on.
      views: that all are measured on.
      weights: of the win probability.
    """
    fitted = _fit(train)
    if fitted is None:
        return None
    base_rate, lead = fitted
    forecasts: dict[str, Forecast] = {
        "policy": lambda columns: win_probability(columns, weights),
        "lead": lead,
        "base": lambda columns: np.full(len(columns["p.stock"]), base_rate),
    }
    sums = _sums(views, forecasts)
    if not sums:
        return None
    games = len(sums["policy"].frames)
    draws = np.random.default_rng(0).multinomial(games, np.full(games, 1 / games), DRAWS)
    brier = {name: _draw_ratio(found.squared, found.frames, draws) for name, found in sums.items()}
    return WinMetrics(
        games=games,
        frames=int(sums["policy"].frames.sum()),
        base_rate=base_rate,
        policy=_forecast(sums["policy"], draws),
        lead=_forecast(sums["lead"], draws),
        base_brier=float(brier["base"][0]),
        skill_over_base=_interval(1 - brier["policy"] / brier["base"]),
        skill_over_lead=_interval(1 - brier["policy"] / brier["lead"]),
        weights=dict(weights),
    )


class _Sums(NamedTuple):
    """Sums over the frames of each game."""

    frames: np.ndarray
    """`[games]`."""
    squared: np.ndarray
    """Squared errors, `[games]`."""
    weight: np.ndarray
    """Frames by bin of the probability, `[games, BINS]`, like the next two."""
    probability: np.ndarray
    won: np.ndarray


def _sums(views: Iterable[WinView], forecasts: Mapping[str, Forecast]) -> dict[str, _Sums]:
    """Sums of each forecast, a row per game; nothing if there is none."""
    rows: dict[str, dict[int, np.ndarray]] = {name: {} for name in forecasts}
    for view in views:
        for name, forecast in forecasts.items():
            found = _view_sums(forecast(view.columns).astype(np.float64), won=view.won)
            rows[name][view.game] = rows[name].get(view.game, 0.0) + found
    return {name: _Sums(*_parts(np.stack([*of.values()]))) for name, of in rows.items() if of}


def _view_sums(probability: np.ndarray, *, won: bool) -> np.ndarray:
    """float64 `[2 + 3 · BINS]`: what `_Sums` holds of one view."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    weight = np.bincount(place, minlength=BINS)
    squared = ((probability - won) ** 2).sum()
    binned = np.bincount(place, probability, minlength=BINS)
    return np.concatenate([[len(place), squared], weight, binned, weight * won])


def _parts(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    weight, probability, won = np.split(rows[:, 2:], 3, axis=1)
    return rows[:, 0], rows[:, 1], weight, probability, won


def _forecast(sums: _Sums, draws: np.ndarray) -> WinForecast:
    gap = sums.probability - sums.won
    drawn = _with_all(gap, draws)
    frames = _with_all(sums.frames, draws)
    ece = np.abs(drawn).sum(1) / frames
    by_chance = np.abs(drawn[1:] - drawn[0]).sum(1) / frames[1:]
    return WinForecast(
        brier=_interval(_draw_ratio(sums.squared, sums.frames, draws)),
        ece=_interval(ece),
        ece_if_calibrated=float(by_chance.mean()),
        ece_if_calibrated_most=float(np.quantile(by_chance, COVERED)),
        calibration=_calibration(sums),
        came_true=_came_true(sums, draws),
    )


def _calibration(sums: _Sums) -> Calibration:
    weight, probability, won = (part.sum(0) for part in sums[2:])
    means = [part / np.maximum(weight, 1) for part in (probability, won)]
    confidence, accuracy = (
        [float(v) if w else None for v, w in zip(mean, weight, strict=True)] for mean in means
    )
    return Calibration(weight.tolist(), confidence, accuracy)


def _came_true(sums: _Sums, draws: np.ndarray) -> list[Interval | None]:
    """Share of wins by bin; None of an empty one."""
    won, weight = _with_all(sums.won, draws), _with_all(sums.weight, draws)
    shares = np.divide(won, weight, out=np.full(won.shape, np.nan), where=weight > 0)
    columns = (column[~np.isnan(column)] for column in shares.T)
    filled = sums.weight.sum(0) > 0
    return [_interval(c) if f else None for c, f in zip(columns, filled, strict=True)]


def _with_all(per_game: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Sums over all games, and behind them over each draw's, `[1 + draws, …]`."""
    return np.concatenate([per_game.sum(0)[None], draws @ per_game])


def _draw_ratio(part: np.ndarray, whole: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return _with_all(part, draws) / _with_all(whole, draws)


def _interval(values: np.ndarray) -> Interval:
    """Of the value over all games, which comes first, and those over draws."""
    tail = (1 - COVERED) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail]) if len(values) > 1 else values[[0, 0]]
    return Interval(float(values[0]), float(low), float(high))


def _fit(views: Iterable[WinView]) -> tuple[float, Forecast] | None:
    """Share of frames whose player won, and the forecast by leads; None if there is no view."""
    seen = [(_leads(v.columns)[::THINNED], v.won, len(v.columns["p.stock"])) for v in views]
    if not seen:
        return None
    base_rate = sum(won * n for _, won, n in seen) / sum(n for _, _, n in seen)
    won = np.concatenate([np.full(len(leads), float(won)) for leads, won, _ in seen])
    weights = fit_logistic(np.concatenate([leads for leads, _, _ in seen]), won)
    return base_rate, lambda columns: _sigmoid(_leads(columns) @ weights)


def _leads(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """float64 `[frames, 3]`: 1, lead in stocks, lead in percent / 100."""
    stock, percent = (columns[name].astype(np.float64) for name in _READ)
    leads = [stock[:, 0] - stock[:, 1], (percent[:, 1] - percent[:, 0]) / 100]
    return np.stack([np.ones(len(stock)), *leads], axis=1)


def fit_logistic(features: np.ndarray, won: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression, by Newton's method.

    Args:
      features: float64 `[frames, n]`.
      won: float64 `[frames]`, 0 or 1.
    """
    weights = np.zeros(features.shape[1])
    ridge = _RIDGE * np.eye(len(weights))
    for _ in range(50):
        chance = _sigmoid(features @ weights)
        slope = features.T @ (chance - won) / len(won) + ridge @ weights
        bend = (features * (chance * (1 - chance))[:, None]).T @ features / len(won) + ridge
        step = np.linalg.solve(bend, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * logits)

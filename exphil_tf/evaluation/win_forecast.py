"""How good a win probability is on games that it has not seen, and how far that can be told.

A game is one outcome, however many frames it has, so everything uncertain is bootstrapped over
whole games. The calibration error is above 0 by chance alone: how large a perfectly calibrated
forecast would show it on as many games is told by the same draws, with each bin's mean gap between
forecast and outcome taken away.

Two forecasts stand beside it, fitted on games of the train split: the *base rate*, and the *lead*,
a logistic regression on leads in stocks and percent. And the fit itself is measured on the train
split *by turns*: each game by weights of the games outside its tenth. Those are many more games
than are held out, so that chance shows less.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from exphil_tf.evaluation.results import Calibration, Interval, WinForecast, WinMetrics
from exphil_tf.rewards.win_score import Weights, win_probability
from exphil_tf.training.win_fit import WinView, fit_logistic, fit_win_weights, thinned

BINS = 15
DRAWS = 1000
"""Of the bootstrap."""
COVERED = 0.95
"""Of the intervals."""
TURNS = 10

Forecast = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From columns `[frames, own/opponent]` to probabilities `[frames]`."""


def measure_wins(
    train: Iterable[WinView], views: Iterable[WinView], weights: Weights
) -> WinMetrics | None:
    """Scores a win probability; None if there is no view to fit or to measure on.

    Args:
      train: that the other forecasts are fitted on.
      views: that all are measured on.
      weights: of the win probability.
    """
    fitted = list(map(thinned, train))
    if not fitted:
        return None
    base_rate, lead = _base_rate(fitted), _fit_lead(fitted)
    forecasts: dict[str, Forecast] = {
        "policy": lambda columns: win_probability(columns, weights),
        "lead": lead,
        "base": lambda columns: np.full(len(columns["p.stock"]), base_rate),
    }
    sums = _sums(views, forecasts)
    if not sums:
        return None
    draws = _draws(sums["policy"])
    brier = {name: _draw_ratio(found.squared, found.frames, draws) for name, found in sums.items()}
    return WinMetrics(
        frames=int(sums["policy"].frames.sum()),
        base_rate=base_rate,
        policy=_forecast(sums["policy"]),
        lead=_forecast(sums["lead"]),
        by_turns=_by_turns(fitted),
        base_brier=float(brier["base"][0]),
        skill_over_base=_skill(brier["policy"], brier["base"]),
        skill_over_lead=_skill(brier["policy"], brier["lead"]),
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


def _draws(sums: _Sums) -> np.ndarray:
    """How often each game is in each draw, int64 `[draws, games]`."""
    games = len(sums.frames)
    return np.random.default_rng(0).multinomial(games, np.full(games, 1 / games), DRAWS)


def _forecast(sums: _Sums) -> WinForecast:
    draws = _draws(sums)
    gap = sums.probability - sums.won
    drawn = _with_all(gap, draws)
    frames = _with_all(sums.frames, draws)
    ece = np.abs(drawn).sum(1) / frames
    by_chance = np.abs(drawn[1:] - drawn[0]).sum(1) / frames[1:]
    return WinForecast(
        games=len(sums.frames),
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


def _skill(brier: np.ndarray, other: np.ndarray) -> Interval | None:
    return _interval(1 - brier / other) if other.min() > 0 else None


def _interval(values: np.ndarray) -> Interval:
    """Of the value over all games, which comes first, and those over draws."""
    tail = (1 - COVERED) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail]) if len(values) > 1 else values[[0, 0]]
    return Interval(float(values[0]), float(low), float(high))


def _base_rate(views: Sequence[WinView]) -> float:
    """Share of frames whose player won."""
    frames = [len(view.columns["p.stock"]) for view in views]
    return sum(n for n, view in zip(frames, views, strict=True) if view.won) / sum(frames)


def _fit_lead(views: Sequence[WinView]) -> Forecast:
    """The forecast by leads."""
    won = [np.full(len(view.columns["p.stock"]), float(view.won)) for view in views]
    leads = np.concatenate([_leads(view.columns) for view in views])
    weights = fit_logistic(leads, np.concatenate(won), start=np.zeros(3))
    return lambda columns: 0.5 + 0.5 * np.tanh(0.5 * (_leads(columns) @ weights))


def _leads(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """float64 `[frames, 3]`: 1, lead in stocks, lead in percent / 100."""
    stock, percent = (columns[f"p.{name}"].astype(np.float64) for name in ("stock", "percent"))
    leads = [stock[:, 0] - stock[:, 1], (percent[:, 1] - percent[:, 0]) / 100]
    return np.stack([np.ones(len(stock)), *leads], axis=1)


def _by_turns(views: Sequence[WinView]) -> WinForecast | None:
    """The fit itself, on games that it was not made from; None of too few games."""
    numbers = sorted({view.game for view in views})
    if len(numbers) < TURNS:
        return None
    turn = {game: place % TURNS for place, game in enumerate(numbers)}
    parts: list[_Sums] = []
    for own in range(TURNS):
        weights = fit_win_weights(view for view in views if turn[view.game] != own)
        left_out = [view for view in views if turn[view.game] == own]
        forecast = functools.partial(win_probability, weights=weights or {})
        parts.append(_sums(left_out, {"policy": forecast})["policy"])
    return _forecast(_Sums(*map(np.concatenate, zip(*parts, strict=True))))

"""Bucket centres for stick axes, fitted to what players do.

Exact weighted k-means in one dimension by dynamic programming over the 80 positive readings: the
best centres there are, whatever the order of games, without a seed. Left and right are folded
together and 0 stays a centre, since mirrored labels must be labels of mirrored games and a resting
stick must rest. The outermost centres are ±1, as a full stick must be full: it is by far the
commonest reading besides 0, and the mean of those about it is 79/80. Centres lie on the game's own
grid of 1/80.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.controls import STICK_STEPS
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT


class StickCentres(NamedTuple):
    """A fit.

    Attributes:
      axis_centres: sorted, symmetric, an odd number, holding 0; in [-1, 1].
      rms_error: root mean square distance of a reading to its centre, in stick units.
    """

    axis_centres: tuple[float, ...]
    rms_error: float


def fit(histogram: np.ndarray, num_buckets: int) -> StickCentres:
    """The centres with the least squared error, of those that hold 0 and both ends.

    Args:
      histogram: int `[161]`, how often a stick read -80/80 … 80/80.
      num_buckets: an odd number of centres, at least 3.

    Raises:
      ValueError: if the number is even, or there are fewer distinct readings than centres.
    """
    if histogram.shape != (2 * STICK_STEPS + 1,) or num_buckets < 3 or num_buckets % 2 == 0:
        raise ValueError(
            f"kmeans: want {2 * STICK_STEPS + 1} counts and an odd number of buckets, at least 3. "
            f"Received: {histogram.shape}, {num_buckets}"
        )
    right, left = histogram[STICK_STEPS:], histogram[STICK_STEPS::-1]
    weights = (right + left).astype(np.float64)  # weights[v]: both directions, v = 0…80
    half = num_buckets // 2
    distinct = int((weights[1:STICK_STEPS] > 0).sum())
    if distinct < half - 1:
        raise ValueError(
            f"kmeans: want at most {2 * distinct + 3} buckets, as only {distinct} stick positions "
            f"besides 0 and full occur. Received: {num_buckets}"
        )
    positive = _cluster(weights, half)
    centres = np.concatenate([-positive[::-1], [0.0], positive])
    readings = np.arange(STICK_STEPS + 1)
    error = np.abs(readings[:, None] - np.concatenate([[0.0], positive])).min(1)
    rms = np.sqrt((weights * error**2).sum() / max(weights.sum(), 1)) / STICK_STEPS
    return StickCentres(tuple((centres / STICK_STEPS).tolist()), float(rms))


def _cluster(weights: np.ndarray, num_clusters: int) -> np.ndarray:
    """float64 `[num_clusters]`: ascending centres of readings 1…80; the last is 80.

    A further cluster is fixed at 0. `best[k, j]` is the least error of readings 0…j in the zero
    cluster and k others; the cluster that ends at j begins behind `cut[k, j]`.
    """
    size = len(weights)
    cost, mean = _interval_costs(weights)
    best = np.full((num_clusters, size), np.inf)
    cut = np.zeros((num_clusters, size), int)
    readings = np.arange(size)
    best[0] = np.cumsum(weights * readings**2)
    for k in range(1, num_clusters):
        for j in range(k, size):
            totals = best[k - 1, :j] + cost[1 : j + 1, j]
            cut[k, j] = int(np.argmin(totals))
            best[k, j] = totals[cut[k, j]]
    # The last cluster holds at least 80, from which its error counts.
    to_end = np.cumsum((weights * (size - 1 - readings) ** 2)[::-1])[::-1]
    stop = int(np.argmin(best[-1, :-1] + to_end[1:]))
    centres = [float(size - 1)]
    for k in range(num_clusters - 1, 0, -1):
        start = int(cut[k, stop])
        centres.append(float(np.rint(mean[start + 1, stop])))
        stop = start
    return np.array(centres[::-1])


def _interval_costs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared error and mean of readings i…j as a cluster, float64 `[size, size]`; inf if empty."""
    readings = np.arange(len(weights))
    sums = [np.concatenate([[0.0], np.cumsum(weights * readings**n)]) for n in (0, 1, 2)]
    count, first, second = (s[None, 1:] - s[:-1, None] for s in sums)  # [i, j]
    used = np.triu(count > 0)
    mean = np.divide(first, count, out=np.zeros_like(first), where=used)
    cost = np.where(used, np.maximum(second - mean * first, 0.0), np.inf)
    return cost, mean


def read_centres(path: Path) -> tuple[float, ...]:
    """The bucket centres of a file that `python -m exphil_tf.kmeans` wrote: in [-1, 1], symmetric.

    Raises: UserError: if there is no such file (66), or it holds no centres (65).
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"--kmeans-centers: {path}: no such file",
            "Fit some: python -m exphil_tf.kmeans.",
            exit_code=EXIT_NO_INPUT,
        ) from None
    except ValueError as error:
        raise _not_centres(path, str(error)) from error
    is_named = isinstance(values, dict)
    centres = cast(dict[str, Any], values).get("axis_centres") if is_named else values
    try:
        return ControllerCodec(axis_centres=tuple(float(v) for v in centres)).axis_centres  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        raise _not_centres(path, str(error)) from error


def _not_centres(path: Path, reason: str) -> UserError:
    return UserError(
        f"--kmeans-centers: {path}: want JSON with a list `axis_centres` ({reason})",
        "Fit some: python -m exphil_tf.kmeans.",
        exit_code=EXIT_DATA,
    )

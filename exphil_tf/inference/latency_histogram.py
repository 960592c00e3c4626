"""How long calls took, in bins that a tenth of a decade apart tell 0.1 ms from 10 s.

A histogram and not a list: play goes on for hours, and what a frame costs may not grow with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LEAST_MS, _MOST_MS, _BINS_PER_DECADE = 1e-3, 1e5, 20
_NUM_BINS = round(np.log10(_MOST_MS / _LEAST_MS) * _BINS_PER_DECADE)
_EDGES = np.logspace(np.log10(_LEAST_MS), np.log10(_MOST_MS), _NUM_BINS + 1)


class LatencyHistogram:
    """Counts of calls by how long they took; a quantile is right to a bin, 12 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(_NUM_BINS, np.int64)
        self._most_ms = self._sum_ms = 0.0

    def record(self, seconds: float) -> None:
        """Counts a call."""
        ms = seconds * 1000
        place = int(np.searchsorted(_EDGES, ms, side="right")) - 1
        self._counts[min(max(place, 0), _NUM_BINS - 1)] += 1
        self._most_ms = max(self._most_ms, ms)
        self._sum_ms += ms

    @property
    def count(self) -> int:
        """Calls."""
        return int(self._counts.sum())

    @property
    def max_ms(self) -> float:
        """The longest call."""
        return self._most_ms

    def quantile_ms(self, share: float) -> float:
        """The time that this share of the calls did not exceed, up to a bin; 0 without calls."""
        if not self.count:
            return 0.0
        reached = np.cumsum(self._counts) >= share * self.count
        return min(float(_EDGES[int(np.argmax(reached)) + 1]), self._most_ms)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: calls, quantiles and mean in ms, and the bins that are not empty."""
        filled = np.flatnonzero(self._counts)
        return {
            "calls": self.count,
            "mean_ms": round(self._sum_ms / max(1, self.count), 4),
            "p50_ms": round(self.quantile_ms(0.5), 4),
            "p99_ms": round(self.quantile_ms(0.99), 4),
            "max_ms": round(self.max_ms, 4),
            "bins": [[round(float(_EDGES[i + 1]), 4), int(self._counts[i])] for i in filled],
        }

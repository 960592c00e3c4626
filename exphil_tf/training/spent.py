"""Where the time of a run goes, by part, as its loop sees it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

from rich.table import Table


class Spent:
    """Seconds of this process, by part of the loop."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._begun_s = time.monotonic()

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Counts what is done within under a part."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] += time.monotonic() - began

    def shift(self, part: str, other: str, seconds: float) -> None:
        """Counts seconds of one part under another."""
        self.seconds[part] -= seconds
        self.seconds[other] += seconds

    def by_part(self) -> dict[str, float]:
        """Seconds by part, the most first, and what is left over as `other`."""
        total = time.monotonic() - self._begun_s
        found = {name: max(0.0, value) for name, value in self.seconds.items()}
        found["other"] = max(0.0, total - sum(found.values()))
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def table(seconds: dict[str, float]) -> Table:
    """Parts with their seconds and shares."""
    total = max(sum(seconds.values()), 1e-9)
    made = Table("part", "seconds", "share", title="Where the time went", title_justify="left")
    for column in made.columns[1:]:
        column.justify = "right"
    for name, value in seconds.items():
        made.add_row(name, f"{value:.1f}", f"{value / total:.1%}")
    return made

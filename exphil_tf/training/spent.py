"""Where the time of a run goes, by part, as its loop sees it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from rich.table import Table


class Spent:
    """Seconds of this process, by part.

    Args:
      clock: that counts them: `time.process_time` counts processor seconds of all its threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._clock, self._begun_s = clock, clock()

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Counts what is done within under a part."""
        began = self._clock()
        try:
            yield
        finally:
            self.seconds[part] += self._clock() - began

    def take(self) -> dict[str, float]:
        """Seconds by part so far, which are zero afterwards."""
        found, self.seconds = dict(self.seconds), defaultdict(float)
        return found

    def shift(self, part: str, other: str, seconds: float) -> None:
        """Counts seconds of one part under another."""
        self.seconds[part] -= seconds
        self.seconds[other] += seconds

    def by_part(self) -> dict[str, float]:
        """Seconds by part, the most first, and what is left over as `other`."""
        total = self._clock() - self._begun_s
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

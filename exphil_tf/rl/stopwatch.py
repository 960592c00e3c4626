"""Processor time by part: a busy machine's clock tells nothing."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Stopwatch:
    """Sums of processor seconds of this process, all its threads together, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Counts its body to a part."""
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[part] += time.process_time() - began

    def take(self) -> dict[str, float]:
        """The sums so far, which are zero afterwards."""
        found, self.seconds = dict(self.seconds), defaultdict(float)
        return found

"""What a run is and how far it is, from its folder alone, for lists and messages."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_tf.checkpoints import lock
from exphil_tf.training.run_files import CHECKPOINTS, CONFIG_JSON, CONTENTS, read_json

_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class RunSummary:
    """What can be said of a run without loading it."""

    path: Path
    size_bytes: int
    changed_s: float
    """When one of its files was last written, in seconds since the epoch."""
    step: int
    """Of the newest checkpoint, or at its end."""
    state: str
    """`finished`, `stopped early`, `training` or `unfinished`."""
    facts: Mapping[str, Any]
    """Its `config.json`; empty if that is missing or damaged."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its options by name."""
        return _mapping(self.facts.get("config"))

    @property
    def results(self) -> Mapping[str, Any]:
        """Its results; empty for a run that has none yet."""
        return _mapping(self.facts.get("results"))

    @property
    def best(self) -> tuple[str, float] | None:
        """The metric that the policy was chosen by, and its best value."""
        for name, value in self.results.items():
            if name.startswith("best_") and name != "best_step" and isinstance(value, (int, float)):
                return name, float(value)
        return None

    def in_words(self) -> str:
        """Such as `45.2 MB, changed 2026-01-23 14:30, 3 h ago, step 1,200, finished`."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.changed_s))
        age = duration(max(0.0, time.time() - self.changed_s))
        size = f"{self.size_bytes / 1e6:.1f} MB"
        return f"{size}, changed {when}, {age} ago, step {self.step:,}, {self.state}"


def summarise(run_dir: Path) -> RunSummary:
    """Sums a run's folder up; never fails for what is missing or damaged in it."""
    facts = read_json(run_dir / CONFIG_JSON)
    results = _mapping(facts.get("results"))
    sizes, times = _files(run_dir)
    steps = [
        int(match[1])
        for path in (run_dir / CHECKPOINTS).glob("step-*")
        if (match := _STEP.fullmatch(path.name))
    ]
    step = max([*steps, *(n for n in [results.get("steps")] if isinstance(n, int))], default=0)
    state = "training" if lock.is_held(run_dir) else "unfinished"
    if results:
        state = str(results.get("reason", "finished"))
    return RunSummary(run_dir, sum(sizes), max(times, default=0.0), step, state, facts)


def duration(seconds: float) -> str:
    """A rough duration in words, such as `12 min`, `3.4 h` or `5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def _files(run_dir: Path) -> tuple[list[int], list[float]]:
    """Sizes and times of the run's files."""
    sizes, times = [0], []
    for name in CONTENTS:
        places = [(run_dir, [], [name])] if (run_dir / name).is_file() else os.walk(run_dir / name)
        for folder, _, names in places:
            for file in names:
                with contextlib.suppress(OSError):  # it may be gone by now
                    found = (Path(folder) / file).stat()
                    sizes.append(found.st_size)
                    times.append(found.st_mtime)
    return sizes, times


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

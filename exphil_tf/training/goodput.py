"""What share of a run's time on its machines was training, and what became of the rest.

*Goodput* is the time in updates and validations whose results the run kept, over all processes that
trained it. *Badput* is the rest, by cause. A checkpoint holds the account up to it; what happened
between it and the process that goes on from it was either lost work, up to the last sign of life in
the run's log, or a machine that was not there, which is not billed and is told beside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from exphil_tf.training.run_files import LOG
from exphil_tf.training.run_monitor import tail
from exphil_tf.training.spent import Spent

PRODUCTIVE, IDLE, LOST, STARTUP, SYNC = "training", "idle", "lost work", "startup", "sync"
_CAUSES = {
    "updates": PRODUCTIVE,
    "validation": PRODUCTIVE,
    "first update": "compile",
    "input": "input",
    "checkpoints": "checkpoint",
    "export": "checkpoint",
    SYNC: SYNC,
}
CAUSES = (PRODUCTIVE, "compile", "input", "checkpoint", SYNC, LOST, STARTUP, "other", IDLE)
"""Where time goes; `idle` is when no machine had the run."""


def process_start_s() -> float:
    """When this process began, in seconds since the epoch; now where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.time()


class Account:
    """Seconds of a run by cause, over all its processes.

    Args:
      before: what `to_dict` told at the checkpoint that this process goes on from.
      alive_s: when its last process gave the last sign of life, in seconds since the epoch.
      started_s: when this process began; None for the process's own start.
      clock: seconds since the epoch.
    """

    def __init__(
        self,
        before: object = None,
        *,
        alive_s: float | None = None,
        started_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self.spent = Spent()
        self._clock = clock
        self._loop_s = clock()
        self._started_s = min(process_start_s() if started_s is None else started_s, self._loop_s)
        self._before = _seconds(before)
        saved_s = before.get("saved_s") if isinstance(before, Mapping) else None
        if isinstance(saved_s, (int, float)):
            self._saw_gap(float(saved_s), alive_s)

    def _saw_gap(self, saved_s: float, alive_s: float | None) -> None:
        """Splits the time from a checkpoint to this process into lost work and no machine."""
        gap = max(0.0, self._started_s - saved_s)
        lost = min(gap, max(0.0, (alive_s or saved_s) - saved_s))
        self._before[LOST] += lost
        self._before[IDLE] += gap - lost

    def by_cause(self) -> dict[str, float]:
        """Seconds so far, of this process and those before it."""
        found = dict(self._before)
        found[STARTUP] += self._loop_s - self._started_s
        known = 0.0
        for part, seconds in self.spent.seconds.items():
            found[_CAUSES.get(part, "other")] += max(0.0, seconds)
            known += max(0.0, seconds)
        found["other"] += max(0.0, self._clock() - self._loop_s - known)
        return found

    def billed_s(self) -> float:
        """Seconds that machines had the run."""
        return billed(self.by_cause())

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"saved_s": self._clock(), "seconds": self.by_cause()}


def billed(seconds: Mapping[str, float]) -> float:
    """Seconds that machines had a run, of seconds by cause."""
    return sum(value for cause, value in seconds.items() if cause != IDLE)


def share(seconds: Mapping[str, float]) -> float:
    """The goodput: training's share of the billed time."""
    return seconds.get(PRODUCTIVE, 0.0) / max(billed(seconds), 1e-9)


def sentence(seconds: Mapping[str, float], *, price: float | None = None) -> str:
    """Such as `goodput 92.1% of 3.20 h; compile 3.1%, lost work 2.2%; cost 1.41`."""
    total = billed(seconds)
    rest = sorted(((v, c) for c, v in seconds.items() if c not in (PRODUCTIVE, IDLE)), reverse=True)
    causes = [f"{c} {v / max(total, 1e-9):.1%}" for v, c in rest if v >= 0.0005 * total]
    words = [f"goodput {share(seconds):.1%} of {total / 3600:.2f} h", ", ".join(causes)]
    if seconds.get(IDLE, 0.0) >= 1:
        words.append(f"{seconds[IDLE] / 3600:.2f} h without a machine")
    if price is not None:
        words.append(f"cost {total / 3600 * price:.2f}")
    return "; ".join(word for word in words if word)


def last_sign_of_life(run_dir: Path) -> float | None:
    """When the run's log was last written to, as its last line says."""
    for event in reversed(tail(run_dir / LOG)):
        try:
            return datetime.strptime(str(event["time"]), "%Y-%m-%dT%H:%M:%S%z").timestamp()
        except (KeyError, ValueError):
            continue
    return None


def _seconds(before: object) -> dict[str, float]:
    """Of a checkpoint's account; of an earlier release's, which has none, nothing is known."""
    values = before.get("seconds") if isinstance(before, Mapping) else None
    values = values if isinstance(values, Mapping) else {}
    found = {cause: values.get(cause, 0.0) for cause in CAUSES}
    return {c: float(v) if isinstance(v, (int, float)) else 0.0 for c, v in found.items()}

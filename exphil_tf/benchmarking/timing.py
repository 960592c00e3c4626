"""Wall and CPU time of repeated work, children included."""

import resource
import time
from collections.abc import Callable
from typing import NamedTuple


class Timed(NamedTuple):
    """Time that some work took."""

    wall_s: float
    cpu_s: float
    """Of this process and of children that have ended."""
    done: int
    """Units of work done."""

    @property
    def per_s(self) -> float:
        """Units per second of wall time."""
        return self.done / max(self.wall_s, 1e-9)

    @property
    def per_cpu_s(self) -> float:
        """Units per second of CPU time: what a busy machine does not change much."""
        return self.done / max(self.cpu_s, 1e-9)


def cpu_s() -> float:
    """CPU seconds used so far by this process and its ended children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(work: Callable[[], int]) -> Timed:
    """Times one call of `work`, which returns how many units it did."""
    wall, cpu = time.perf_counter(), cpu_s()
    count = work()
    return Timed(time.perf_counter() - wall, cpu_s() - cpu, count)


def best(work: Callable[[], int], *, repeats: int = 3) -> Timed:
    """The fastest of some calls by CPU time: others on the machine can only slow work down."""
    return min((measure(work) for _ in range(repeats)), key=lambda timed: timed.cpu_s)


def for_seconds(work: Callable[[], int], *, seconds: float) -> Timed:
    """Repeats `work` for some seconds, after half that time which does not count."""

    def repeat_for(seconds: float) -> int:
        end = time.perf_counter() + seconds
        count = work()
        while time.perf_counter() < end:
            count += work()
        return count

    repeat_for(seconds / 2)
    return measure(lambda: repeat_for(seconds))

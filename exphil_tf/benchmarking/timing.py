"""Wall and CPU time of repeated work, of all processes that do it.

A worker of a fork server is a child of the server and not ours, and the system adds up only
children that ended. So whatever descends from this process counts, as `/proc` tells it.
"""

import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

Clock = Callable[[], float]
"""Seconds since some moment."""
_PROC = Path("/proc")


class Timed(NamedTuple):
    """Time that some work took."""

    wall_s: float
    cpu_s: float
    """Of this process and all that descend from it."""
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
    """CPU seconds used so far by this process and its descendants, ended ones included."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return own + sum(_descendants_cpu_s())


def _descendants_cpu_s() -> Iterator[float]:
    """CPU seconds of each descendant that lives, its own ended children included."""
    children, used = defaultdict(list), {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The command in brackets may hold anything; then come state, parent and 9 others.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        process = int(folder.name)
        children[int(fields[1])].append(process)
        used[process] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    waiting = children[os.getpid()]
    while waiting:
        process = waiting.pop()
        waiting += children[process]
        yield used[process]


def measure(work: Callable[[], int], *, clock: Clock = time.perf_counter) -> Timed:
    """Times one call of `work`, which returns how many units it did."""
    wall, cpu = clock(), cpu_s()
    count = work()
    return Timed(clock() - wall, cpu_s() - cpu, count)


def best(work: Callable[[], int], *, repeats: int = 3) -> Timed:
    """The fastest of some calls by CPU time: others on the machine can only slow work down."""
    return min((measure(work) for _ in range(repeats)), key=lambda timed: timed.cpu_s)


def for_seconds(
    work: Callable[[], int], *, seconds: float, clock: Clock = time.perf_counter
) -> Timed:
    """Repeats `work` for some seconds, after half that time which does not count."""

    def repeat_for(seconds: float) -> int:
        end = clock() + seconds
        count = work()
        while clock() < end:
            count += work()
        return count

    repeat_for(seconds / 2)
    return measure(lambda: repeat_for(seconds), clock=clock)


def cpu_seconds(works: Mapping[str, Callable[[], object]], *, rounds: int = 5) -> dict[str, float]:
    """Processor seconds of each work's fastest round; the works take turns.

    Every work runs once before it counts. Descendants' time does not.
    """
    fastest = dict.fromkeys(works, float("inf"))
    for counts in (False, *[True] * rounds):
        for name, work in works.items():
            began = time.process_time()
            work()
            if counts:
                fastest[name] = min(fastest[name], time.process_time() - began)
    return fastest

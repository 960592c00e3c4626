"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Those that it is held to (`taskset`, a container's set and share), or all of the machine.

    Args:
      root: of the file system.
    """
    return granted_share(root) or _set_of_cores()


def granted_share(root: Path = _ROOT) -> int | None:
    """Cores' worth of time (`docker --cpus 2.5`, a pod's limit), rounded up.

    Args:
      root: of the file system.

    Returns: None if that is no less than the cores that the process may run on, which libraries
      count by themselves.
    """
    share = min((math.ceil(share) for share in _shares(root)), default=math.inf)
    return max(1, int(share)) if share < _set_of_cores() else None


def _set_of_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shares(root: Path) -> Iterator[float]:
    """Processors' worth of time that control groups grant, where they bound it."""
    groups = root / "sys/fs/cgroup"
    own = _own_group(root)
    for folder in (own, *own.parents):  # a group is bound by those that it is in
        yield from _share(_words(groups / folder / "cpu.max"))
    first = groups / "cpu"  # cgroup v1
    quota, period = (_words(first / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    yield from _share([*quota, *period])


def _own_group(root: Path) -> Path:
    """The process's group, from the first; in a container mostly the first itself."""
    for line in _lines(root / "proc/self/cgroup"):
        if line.startswith("0::"):
            return Path(line[3:].lstrip("/"))
    return Path()


def _share(words: list[str]) -> Iterator[float]:
    """Of `quota period`; none where the quota is `max` or −1."""
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []

"""Memory that a process and the machine's GPUs hold, as far as the system tells."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

_MIB = 1 << 20
_MEMORY, _LOAD = "memory.used,memory.total", "utilization.gpu,temperature.gpu"


def resident_bytes(pid: int | None = None) -> int | None:
    """Of a process, this one by default; None if it is gone, or the system does not tell."""
    try:
        text = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else None


def device_memory() -> list[tuple[int, int]]:
    """Bytes used and there of each GPU that this process may use; none without a driver's tool."""
    return [(used * _MIB, total * _MIB) for used, total in _asked(_MEMORY)]


def device_load() -> list[tuple[int, int]]:
    """Per cent that each GPU is busy, and its temperature in °C; none without a driver's tool."""
    return _asked(_LOAD)


def machine_memory() -> tuple[int, int] | None:
    """Bytes that the machine has free for more, and in all; None where it does not tell."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = [re.search(rf"{name}:\s+(\d+) kB", text) for name in ("MemAvailable", "MemTotal")]
    free, total = (int(match[1]) * 1024 if match else 0 for match in found)
    return (free, total) if total else None


def _asked(columns: str) -> list[tuple[int, int]]:
    """Two whole numbers of each GPU."""
    program = _program()
    if program is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return []
    query = (f"--query-gpu={columns}", "--format=csv,noheader,nounits")
    try:
        ended = subprocess.run(
            [program, *query], capture_output=True, text=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(",") for line in ended.stdout.splitlines()]
    return [
        (int(first), int(second))
        for first, second in (row for row in rows if len(row) == 2)
        if first.strip().isdigit() and second.strip().isdigit()
    ]


@functools.cache
def _program() -> str | None:
    return shutil.which("nvidia-smi")

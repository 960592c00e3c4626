"""Memory that a process and the machine's GPUs hold, as far as the system tells."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

_MIB = 1 << 20
_QUERY = ("--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits")


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
    program = _program()
    if program is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return []
    try:
        ended = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(",") for line in ended.stdout.splitlines()]
    return [
        (int(used) * _MIB, int(total) * _MIB)
        for used, total in (row for row in rows if len(row) == 2)
        if used.strip().isdigit() and total.strip().isdigit()
    ]


@functools.cache
def _program() -> str | None:
    return shutil.which("nvidia-smi")

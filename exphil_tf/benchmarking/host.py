"""What times depend on besides the code: processor, instructions, caches, versions, load."""

import os
import platform
import resource
from importlib import metadata
from pathlib import Path
from typing import Any

_ROOT = Path("/")
_CPUINFO = "proc/cpuinfo"
_CACHES = "sys/devices/system/cpu/cpu0/cache"
_INTEGER_FLAGS = ("avx2", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instructions that decide how fast 8-bit products are."""
_PACKAGES = ("numpy", "onnxruntime", "onnx")
BUSY = 0.5
"""Load per core, of others, from which figures are marked."""


def describe(root: Path = _ROOT) -> dict[str, Any]:
    """Plain values for a report; what cannot be found out is left out or "unknown".

    Args:
      root: of the file system.
    """
    info = _cpuinfo(root / _CPUINFO)
    flags = set(info.get("flags", info.get("Features", "")).split())
    return {
        "processor": info.get("model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "integer_instructions": [flag for flag in _INTEGER_FLAGS if flag in flags],
        "caches": _caches(root / _CACHES),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def load_average() -> float:
    """Processes that ran or waited in the last minute, this one included; 0 where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def preemptions() -> int:
    """How often this process had to leave a core so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def last_cache_bytes(root: Path = _ROOT) -> int:
    """Size of the largest cache, 32 MiB where unknown."""
    sizes = [_size(text) for text in _caches(root / _CACHES).values()]
    return max(sizes, default=0) or 1 << 25


def _cpuinfo(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _caches(folder: Path) -> dict[str, str]:
    """Sizes by level and kind, such as `L1 data: 32K`."""
    found: dict[str, str] = {}
    for cache in sorted(folder.glob("index*")):
        try:
            level, kind, size = (
                (cache / name).read_text(encoding="utf-8").strip()
                for name in ("level", "type", "size")
            )
        except OSError:
            continue
        found[f"L{level} {kind.lower()}"] = size
    return found


def _size(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text or 0)

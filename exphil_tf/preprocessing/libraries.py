"""Versions of the libraries that decide a dataset's bytes."""

from __future__ import annotations

import importlib.metadata

_DECISIVE = ("numpy", "peppi-py", "zstandard", "melee")


def library_versions() -> dict[str, str]:
    """Installed versions by distribution name; `absent` if there is none."""
    versions: dict[str, str] = {}
    for name in _DECISIVE:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions

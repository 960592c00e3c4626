"""A Python environment of some requirements and nothing else, without a network."""

from __future__ import annotations

import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def make_environment(folder: Path, requirements: Path) -> Path:
    """Links the installed packages that a requirements file names, and those that they need.

    Args:
      folder: of the environment, made once.
      requirements: lines `name==version`.

    Returns: Python in it.
    """
    python = folder / "bin/python"
    if python.exists():
        return python
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in _closure(requirements.read_text().splitlines()):
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(top)))
            if not (site / top).exists():
                (site / top).symlink_to(source)
    return python


def _closure(lines: list[str]) -> set[str]:
    names: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        if wanted.name in names or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        assert wanted.specifier.contains(metadata.version(wanted.name)), wanted
        names.add(wanted.name)
        waiting += [Requirement(line) for line in metadata.requires(wanted.name) or ()]
    return names

"""Backups of a run, made before another takes its folder: `NAME.bak`, then `NAME.bak.1` and on.

A run is moved, not copied: that takes no room, and each of its parts is at any moment whole in one
of two places. What a kill or a full disk leaves half-moved lies in `NAME.bak.partial` and is moved
back by the next command that holds the folder's lock, so the run is there as if nothing had been.
Moving the folder itself would be one step, but takes along whatever else lies in it: notes, or
runs in folders of their own.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE

_SUFFIX = ".bak"
_PARTIAL = f"{_SUFFIX}.partial"
_NAME = re.compile(r".+\.bak(\.(?P<number>\d+)|\.partial)?")


def is_backup(folder: Path) -> bool:
    """Whether a folder is the backup of a run, by its name."""
    return _NAME.fullmatch(folder.name) is not None


def backups(run_dir: Path) -> dict[int, Path]:
    """The backups of a run by number, the newest (0) first."""
    run_dir = run_dir.resolve()
    found = {
        int(match["number"] or 0): path
        for path in run_dir.parent.glob(f"{_literal(run_dir.name)}{_SUFFIX}*")
        if (match := _NAME.fullmatch(path.name)) and path != _partial(run_dir)
    }
    return dict(sorted(found.items()))


def set_aside(run_dir: Path, contents: Sequence[str], *, marker: str, keep: int) -> Path | None:
    """Makes a run's folder free for another run; its lock must be held.

    Args:
      run_dir: holds a run.
      contents: names of the run's parts.
      marker: the part by which a folder is known to hold a run; it goes last.
      keep: newest backups to keep; with 0 the run is deleted.

    Returns: the backup; None if there is none.

    Raises:
      UserError: if the folder's parts can't be moved beside it.
      OSError: of the system. Either way the run is as before.
    """
    parts = [name for name in contents if name != marker and (run_dir / name).exists()]
    backup = _move(run_dir, parts, marker) if parts and keep else None
    for name in [*parts, marker]:
        _remove(run_dir / name)
    for number, path in backups(run_dir).items() if backup else ():
        if number >= keep:
            shutil.rmtree(path)
    return backup


def recover(run_dir: Path) -> None:
    """Moves back what an interrupted `set_aside` left; the run's lock must be held."""
    partial = _partial(run_dir.resolve())
    if not partial.is_dir():
        return
    for part in sorted(partial.iterdir()):
        if not (run_dir / part.name).exists():
            os.rename(part, run_dir / part.name)  # noqa: PTH104 - see atomic
        elif part.is_file():
            part.unlink()  # a copy: parts are moved only into a folder that lacks them
    partial.rmdir()


def _move(run_dir: Path, parts: Sequence[str], marker: str) -> Path:
    place = run_dir.resolve()
    partial, backup = _partial(place), place.with_name(place.name + _SUFFIX)
    try:
        partial.mkdir()
        for name in parts:
            os.rename(run_dir / name, partial / name)  # noqa: PTH104 - see atomic
        atomic.write_bytes(partial / marker, (run_dir / marker).read_bytes())
        _shift(place)
        os.rename(partial, backup)  # noqa: PTH104 - see atomic
    except OSError as error:
        recover(run_dir)
        if error.errno != errno.EXDEV:
            raise
        raise UserError(
            f"--overwrite: {run_dir} cannot be backed up beside it: another file system",
            "Choose another --name or --run-dir, or give --no-backup.",
            exit_code=EXIT_CANNOT_CREATE,
        ) from error
    return backup


def _shift(run_dir: Path) -> None:
    """Frees the name of the newest backup; as far as the first free number, if some are missing."""
    found = backups(run_dir)
    free = next(number for number in range(len(found) + 1) if number not in found)
    for number in reversed(range(free)):
        target = run_dir.with_name(f"{run_dir.name}{_SUFFIX}.{number + 1}")
        os.rename(found[number], target)  # noqa: PTH104 - see atomic


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _partial(run_dir: Path) -> Path:
    return run_dir.with_name(run_dir.name + _PARTIAL)


def _literal(name: str) -> str:
    """A name as a pattern that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)

"""A run's checkpoints: complete or absent, checked when read, the last few and the best kept.

One checkpoint is one folder `step-00001234/`: the files that the caller's `write` makes,
`meta.json` and the checksum list. What the state consists of is the caller's business
(`training.state`).
"""

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.foundation import atomic

META = "meta.json"
_NAME = re.compile(r"step-(\d{8,})")
_CORRUPT = "corrupt-"
_log = logging.getLogger(__name__)


class NonFiniteError(ValueError):
    """A state with NaN or infinity in it, which must never be published."""


class Checkpoint(NamedTuple):
    """One published checkpoint."""

    step: int
    """Optimiser steps done."""
    path: Path
    """Its folder."""
    meta: dict[str, Any]
    """The plain values saved with it; `metric`, if there, ranks it (lower is better)."""


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints in one folder. One process at a time may write (see `lock`)."""

    directory: Path
    """Folder of the `step-…` folders."""
    keep_last: int = 3
    """Newest checkpoints to keep, at least 1."""
    keep_best: int = 1
    """Checkpoints with the lowest metric to keep besides."""
    attached: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain values to put beside the state as JSON files, by name: what the run is."""

    def save(self, step: int, write: Callable[[Path], None], meta: dict[str, Any]) -> Path:
        """Publishes one checkpoint, then removes those that need not be kept.

        Args:
          step: optimiser steps done; an existing checkpoint of that step is replaced.
          write: writes the state's files into the folder it is given.
          meta: plain values to save along; NaN is refused.

        Raises: OSError, or whatever `write` raises: nothing is published, nothing removed.
        """
        target = self.directory / f"step-{step:08d}"
        with atomic.publish(target) as folder:
            write(folder)
            for name, values in self.attached.items():
                atomic.write_json(folder / name, values)
            atomic.write_json(folder / META, {**meta, "step": step})
        self.prune()
        return target

    def checkpoints(self) -> list[Checkpoint]:
        """Every published checkpoint, oldest first; not verified, an unreadable meta is `{}`."""
        return [
            Checkpoint(int(match[1]), path, _read_meta(path))
            for path in sorted(self.directory.glob("step-*"))
            if (match := _NAME.fullmatch(path.name))
        ]

    def latest(self, *, quarantine: bool = False) -> Checkpoint | None:
        """The newest checkpoint whose every byte is intact; a damaged one is passed over, aloud.

        Args:
          quarantine: rename damaged ones to `corrupt-step-…`, so that they don't count as kept.
        """
        for checkpoint in reversed(self.checkpoints()):
            found = atomic.problems(checkpoint.path)
            if not found:
                return checkpoint
            _log.warning("%s is damaged, trying the one before: %s", checkpoint.path, found[0])
            if quarantine:
                self._quarantine(checkpoint.path)
        return None

    def best(self) -> Checkpoint | None:
        """The intact checkpoint of the lowest metric, the older of two equals."""
        for checkpoint in _ranked(self.checkpoints()):
            if not atomic.problems(checkpoint.path):
                return checkpoint
        return None

    def prune(self) -> None:
        """Removes checkpoints that are neither among the last nor among the best."""
        found = self.checkpoints()
        keep = {c.path for c in found[-max(1, self.keep_last) :]}
        keep |= {c.path for c in _ranked(found)[: self.keep_best]}
        for checkpoint in found:
            if checkpoint.path not in keep:
                # Renamed first: a reader never sees a folder with half of its files gone.
                doomed = checkpoint.path.with_name(f"{atomic.TEMPORARY}{checkpoint.path.name}-gone")
                os.rename(checkpoint.path, doomed)  # noqa: PTH104 - see atomic
                shutil.rmtree(doomed, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a killed writer left; only for the process that holds the run's lock."""
        for path in atomic.sweep(self.directory):
            _log.info("removed %s, left by an interrupted save", path)

    def _quarantine(self, path: Path) -> None:
        target = path.with_name(_CORRUPT + path.name)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(path, target)  # noqa: PTH104 - see atomic


def open_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint folder given by path, verified.

    Raises: ValueError: if it isn't a checkpoint or a byte of it changed.
    """
    match = _NAME.fullmatch(path.name)
    if match is None or not path.is_dir():
        raise ValueError(f"{path}: want a checkpoint folder (step-…). Received: {path.name!r}")
    found = atomic.problems(path)
    if found:
        raise ValueError(f"{path}: damaged: {found[0]}")
    return Checkpoint(int(match[1]), path, _read_meta(path))


def require_finite(arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raises NonFiniteError naming the first floating array that holds NaN or infinity."""
    for name, array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFiniteError(f"{name}: want finite numbers. Received: NaN or infinity")


def _ranked(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    scored = [c for c in checkpoints if type(c.meta.get("metric")) in (int, float)]
    return sorted(scored, key=lambda c: (c.meta["metric"], c.step))


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = atomic.read_json(path / META)
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}

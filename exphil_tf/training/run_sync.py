"""A run's folder on a store: copied beside training, fetched where the folder here is older.

A thread does all of it, from a snapshot of hard links, so that training neither waits for it nor
can take a checkpoint away from under it. A store that fails costs the run nothing but its copy, and
is tried again until the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_tf.checkpoints import lock
from exphil_tf.cloud.address import open_store, parse
from exphil_tf.cloud.download import download, download_published
from exphil_tf.cloud.store import MissingError, Store, StoreError, files_in
from exphil_tf.cloud.sums import STEP, is_copied, listed, read_manifest, tried, under
from exphil_tf.cloud.upload import upload
from exphil_tf.foundation import atomic
from exphil_tf.foundation.atomic import CHECKSUMS
from exphil_tf.foundation.errors import UserError, remark
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE
from exphil_tf.training.run_files import CHECKPOINTS, CONFIG_JSON, CONFIG_YAML, CONTENTS, read_json
from exphil_tf.training.run_folder import RunLocation

PERIOD_S = 60.0
"""Between two copies, if no checkpoint asks for one."""
FINISHED_S = 900.0
"""How long the end of a run waits for its last copy."""
INTERRUPTED_S = 25.0
"""The same of a run that was told to stop: providers grant some 30 s."""
_PAUSES_S = (2.0, 5.0, 15.0, 60.0)
_log = logging.getLogger(__name__)


class RunSync:
    """Copies a run's folder to a store; a sink of the run's events.

    Args:
      run_dir: the run's folder.
      store: where to.
      name: of the run there.
      period_s: between copies that no checkpoint asks for.
    """

    def __init__(self, run_dir: Path, store: Store, name: str, *, period_s: float = PERIOD_S):
        self._run_dir, self._store, self._name = run_dir, store, name
        self._period_s = period_s
        self._wake, self._is_last = threading.Event(), threading.Event()
        self._done: set[str] = set()
        self._failures = 0
        self.error: str | None = None
        """Why the last copy failed; None if it did not."""
        self._thread = threading.Thread(target=self._work, name="sync", daemon=True)

    def start(self) -> None:
        """Begins; the run's options are in its folder."""
        self._wake.set()
        self._thread.start()

    def write(self, event: Mapping[str, Any]) -> None:
        """Wakes the thread up at a checkpoint."""
        if event["event"] == "checkpoint":
            self._wake.set()

    def close(self) -> None:
        """Nothing: the last copy is `finish`'s, once the results are there."""

    def finish(self, limit_s: float) -> bool:
        """Copies a last time; whether all of it is there."""
        if not self._thread.is_alive():
            return self.error is None
        self._is_last.set()
        self._wake.set()
        self._thread.join(limit_s)
        if self._thread.is_alive():
            self.error = f"not done within {limit_s:.0f} s"
        return self.error is None

    def _work(self) -> None:
        give_up_s = None
        while True:
            pause_s = self._period_s
            if self._failures:
                pause_s = min(pause_s, _PAUSES_S[min(self._failures, len(_PAUSES_S)) - 1])
            self._wake.wait(pause_s)
            is_last = self._is_last.is_set()
            self._wake.clear()
            self._copy()
            if is_last:
                give_up_s = give_up_s or time.monotonic() + FINISHED_S
                if self.error is None or time.monotonic() > give_up_s:
                    return

    def _copy(self) -> None:
        """Copies what is new; what fails is tried again."""
        try:
            self._copy_snapshot()
        except BaseException as error:  # a panic of the store's client is no Exception
            self.error = " ".join(str(error).split())[:200] or type(error).__name__
            self._failures += 1
            if self._failures == 1:
                _log.warning("--sync: %s; training goes on, and it is tried again", self.error)
        else:
            if self._failures:
                _log.warning("--sync: the copy is up to date again")
            self.error, self._failures = None, 0

    def _copy_snapshot(self) -> None:
        with tempfile.TemporaryDirectory(
            prefix=f"{atomic.TEMPORARY}sync-", dir=self._run_dir
        ) as place:
            steps = snapshot(self._run_dir, Path(place), without=self._done)
            upload(Path(place), self._store, self._name)
        self._done |= steps


def snapshot(run_dir: Path, place: Path, *, without: set[str]) -> set[str]:
    """Links a run's files into another folder, as they are now.

    Args:
      run_dir: the run's folder.
      place: an empty folder on the same disk.
      without: checkpoints to leave out.

    Returns: the names of the checkpoints.
    """
    for name in CONTENTS:
        if name != CHECKPOINTS and (run_dir / name).exists():
            _link(run_dir / name, place / name)
    found: set[str] = set()
    for step in sorted((run_dir / CHECKPOINTS).glob("step-*")):
        if STEP.fullmatch(step.name) and step.name not in without:
            try:
                _link(step, place / CHECKPOINTS / step.name)
            except FileNotFoundError:  # removed for newer ones
                shutil.rmtree(place / CHECKPOINTS / step.name, ignore_errors=True)
            else:
                found.add(step.name)
    return found


def _link(source: Path, target: Path) -> None:
    """Links what is published, which never changes; copies other files, which may grow."""
    for path in files_in(source):
        into = target / path.relative_to(source) if source.is_dir() else target
        into.parent.mkdir(parents=True, exist_ok=True)
        is_published = any((place / CHECKSUMS).is_file() for place in _up_to(path, source))
        with contextlib.suppress(OSError):  # a network volume without links, or gone
            if is_published:
                os.link(path, into)
                continue
        shutil.copy2(path, into)


def _up_to(path: Path, top: Path) -> list[Path]:
    """The folders that a file lies in, from a folder on."""
    return [place for place in path.parents if place.is_relative_to(top)]


# -- Fetching ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredRun:
    """A run on a store."""

    store: Store
    name: str

    def facts(self) -> dict[str, Any]:
        """Its `config.json`; empty if it has none there yet."""
        try:
            data = tried(lambda: self.store.get_bytes(under(self.name, CONFIG_JSON)))
            values = json.loads(data)
        except (MissingError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def check_same(self, run_dir: Path, facts: Mapping[str, Any]) -> None:
        """Refuses to mix two runs of one name.

        Raises: UserError: (73) if the run there was started another time.
        """
        there = self.facts().get("created")
        if there is not None and there != facts.get("created"):
            raise UserError(
                f"--sync: another run called {self.name} is there (started {there})",
                f"Go on with it by --resume auto in an empty folder instead of {run_dir}, or "
                "choose another --name.",
                exit_code=EXIT_CANNOT_CREATE,
            )

    def fetch(self, run_dir: Path) -> int | None:
        """Fetches what the run there has and the folder here lacks.

        Returns: the step of the checkpoint that was fetched; None if there is none newer.

        Raises:
          UserError: if the folder holds another run, or is in use.
          OSError: if the store does not answer.
        """
        keys = {*listed(self.store, self.name), *read_manifest(self.store, self.name)}
        if CONFIG_YAML not in keys:
            return None
        if (run_dir / CONFIG_JSON).is_file():
            self.check_same(run_dir, read_json(run_dir / CONFIG_JSON))
        with lock.hold(run_dir):
            step = self._fetch_newest(run_dir, keys)
            if step is None and (run_dir / CONFIG_YAML).is_file():
                return None
            self._fetch_rest(run_dir)
        return step

    def _fetch_newest(self, run_dir: Path, keys: set[str]) -> int | None:
        """The newest checkpoint that is whole, if it is newer than those here; and the best."""
        here = max((s for s in _steps(run_dir) if _is_whole(run_dir, s)), default=-1)
        names = {key.split("/")[1] for key in keys if key.startswith(f"{CHECKPOINTS}/")}
        there = {int(name.removeprefix("step-")): name for name in names if STEP.fullmatch(name)}
        for step in sorted((one for one in there if one > here), reverse=True):
            if self._fetch_step(run_dir, there[step]):
                best = _best_step(run_dir / CHECKPOINTS / there[step])
                if best in there and best != step and not _is_whole(run_dir, best):
                    self._fetch_step(run_dir, there[best])
                return step
        return None

    def _fetch_step(self, run_dir: Path, name: str) -> bool:
        """Whether a checkpoint is whole there, and here now."""
        target = run_dir / CHECKPOINTS / name
        shutil.rmtree(target, ignore_errors=True)  # here it is damaged, or not there
        try:
            download_published(self.store, f"{self.name}/{CHECKPOINTS}/{name}", target)
        except MissingError:
            return False  # an unfinished upload
        except (StoreError, ValueError) as error:
            remark(f"--sync: {name} is not whole there, trying the one before: {error}")
            return False
        return True

    def _fetch_rest(self, run_dir: Path) -> None:
        summary = download(
            self.store,
            run_dir,
            self.name,
            wanted=lambda key: is_copied(key) and key.split("/")[0] in _BESIDE,
        )
        for problem in summary.problems:
            remark(f"--sync: {problem}")


_BESIDE = tuple(name for name in CONTENTS if name != CHECKPOINTS)


def fetch_run(
    address: str, location: RunLocation, is_named: bool, *, environ: Mapping[str, str]
) -> RunLocation:
    """Fetches a run into its folder, if it is newer where it is copied to.

    Args:
      address: of the copies.
      location: where the run goes; of one that was not named, a folder with an unfinished run or
        a made-up one.
      is_named: whether it was named.
      environ: the environment.

    Returns: where it goes on.

    Raises: UserError: if the folder holds another run. OSError: if the store does not answer.
    """
    store = open_store(parse(address), environ)
    run_dir = location.run_dir
    if not is_named and location.saved_yaml is None:
        name = newest_unfinished(store)
        run_dir = run_dir if name is None else run_dir.parent / name
    step = StoredRun(store, run_dir.resolve().name).fetch(run_dir)
    if step is not None:
        remark(f"--sync: fetched {run_dir} at step {step} from {address}")
    return dataclasses.replace(location, run_dir=run_dir)


def newest_unfinished(store: Store) -> str | None:
    """The name of the run without results that was started last, on a store."""
    found: list[tuple[str, str]] = []
    for key in listed(store, ""):
        name, _, rest = key.partition("/")
        if rest == CONFIG_YAML:
            facts = StoredRun(store, name).facts()
            if not facts.get("results"):
                found.append((str(facts.get("created", "")), name))
    return max(found)[1] if found else None


def _steps(run_dir: Path) -> list[int]:
    names = [path.name for path in (run_dir / CHECKPOINTS).glob("step-*")]
    return [int(name.removeprefix("step-")) for name in names if STEP.fullmatch(name)]


def _is_whole(run_dir: Path, step: int) -> bool:
    return not atomic.problems(run_dir / CHECKPOINTS / f"step-{step:08d}")


def _best_step(checkpoint: Path) -> int:
    """The step of the best validation so far, as a checkpoint tells; -1 for none."""
    position = read_json(checkpoint / "meta.json").get("position")
    progress = position.get("progress") if isinstance(position, dict) else None
    best = progress.get("best_step") if isinstance(progress, dict) else None
    return best if isinstance(best, int) else -1

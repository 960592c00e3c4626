"""The registry of trained policies: what each is and came from, with tags, in one file beside runs.

`registry.json` lies in the folder that holds the runs, and names them relative to it. A run enters
its policy when it ends (`--no-register` leaves that out); one that goes on for longer enters it
again, under the same name, with its tags kept. Which policy another one started from, or was taught
by, is told by the checksum of its weights, wherever its folder lies by then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT
from exphil_tf.training.run_files import POLICY

REGISTRY = "registry.json"
_LOCK = "registry.lock"
_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One trained policy."""

    name: str
    """Of its run's folder; unique in a registry."""
    path: str
    """Of that folder, relative to the registry's."""
    created: str
    weights_sha256: str
    """Of the policy's file of weights."""
    metrics: Mapping[str, float]
    """Best value of the selecting metric, and others, by name."""
    steps: int
    config: Mapping[str, Any]
    """Options that tell policies apart."""
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    """Checksums of the weights that it started from, or was taught by."""


@dataclass(frozen=True)
class Registry:
    """The policies of the runs in one folder."""

    folder: Path

    def entries(self) -> list[Entry]:
        """Every policy, in order of entering.

        Raises: UserError: (65) if the file is damaged.
        """
        path = self.folder / REGISTRY
        if not path.exists():
            return []
        try:
            values = atomic.read_json(path)
            if values["version"] != _VERSION:
                raise ValueError(f"want version {_VERSION}. Received: {values['version']!r:.40}")
            return [_entry(one) for one in values["policies"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: damaged: {error!s:.100}",
                "Move it away; policies enter a new one as runs end.",
                exit_code=EXIT_DATA,
            ) from error

    def find(self, name: str) -> Entry:
        """The policy of that name, or of a run's folder.

        Raises: UserError: (66) if there is none.
        """
        entries = self.entries()
        for entry in entries:
            if name == entry.name or Path(name).resolve() == (self.folder / entry.path).resolve():
                return entry
        known = ", ".join(entry.name for entry in entries[-5:]) or "none"
        raise UserError(
            f"{name}: no such policy in {self.folder / REGISTRY}",
            f"The last ones: {known}.",
            exit_code=EXIT_NO_INPUT,
        )

    def enter(self, entry: Entry) -> None:
        """Adds a policy, in the place of an earlier one of its name, whose tags it keeps."""
        with self._changing() as entries:
            before = [one for one in entries if one.name == entry.name]
            tags = dict.fromkeys([*entry.tags, *(tag for one in before for tag in one.tags)])
            entries[:] = [one for one in entries if one.name != entry.name]
            entries.append(dataclasses.replace(entry, tags=tuple(tags)))

    def tag(self, name: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Entry:
        """Changes a policy's tags; returns the policy.

        Raises: UserError: (66) if there is none of that name.
        """
        found = self.find(name)
        tags = [tag for tag in dict.fromkeys([*found.tags, *add]) if tag not in remove]
        changed = dataclasses.replace(found, tags=tuple(tags))
        with self._changing() as entries:
            entries[:] = [changed if one.name == found.name else one for one in entries]
        return changed

    def delete(self, name: str) -> Entry:
        """Takes a policy out; returns it. Its run's folder stays.

        Raises: UserError: (66) if there is none of that name.
        """
        found = self.find(name)
        with self._changing() as entries:
            entries[:] = [one for one in entries if one.name != found.name]
        return found

    def ancestors(self, entry: Entry) -> list[Entry]:
        """The policies that one came from, the nearest first."""
        found: list[Entry] = []
        queue = list(entry.parents)
        while queue:
            digest = queue.pop(0)
            new = [e for e in self.entries() if e.weights_sha256 == digest and e not in found]
            found += new
            queue += [parent for one in new for parent in one.parents]
        return found

    def children(self, entry: Entry) -> list[Entry]:
        """The policies that came from one."""
        return [one for one in self.entries() if entry.weights_sha256 in one.parents]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Entry]]:
        """The policies, to be changed; written on leaving. One process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for milliseconds
            entries = self.entries()
            yield entries
            values = [dataclasses.asdict(entry) for entry in entries]
            atomic.write_json(self.folder / REGISTRY, {"version": _VERSION, "policies": values})
        finally:
            os.close(descriptor)


_TELLING = ("backbone", "hidden", "num_layers", "window_size", "frame_delay", "train_character")


def entry_of(run_dir: Path, facts: Mapping[str, Any]) -> Entry:
    """The entry of a run that has ended.

    Args:
      run_dir: its folder.
      facts: its `config.json`, results included.
    """
    config, results = facts["config"], facts["results"]
    metrics = {
        name: float(value)
        for name, value in results.items()
        if isinstance(value, float) and name.startswith(("best_", "lowest_", "final_"))
    }
    return Entry(
        name=run_dir.resolve().name,
        path=run_dir.resolve().name,
        created=str(facts.get("created", "")),
        weights_sha256=atomic.sha256(run_dir / POLICY / WEIGHTS),
        metrics=metrics,
        steps=int(results["steps"]),
        config={name: config[name] for name in _TELLING if config.get(name) is not None},
        tags=_own_tags(config),
        parents=tuple(_parents(facts)),
    )


def _own_tags(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a policy is found by without anybody having said so."""
    tags = [config.get("backbone"), config.get("train_character")]
    flags = {
        "augment": "augmented",
        "ema": "averaged",
        "qat": "quantized",
        "online_robust": "online-robust",
        "learn_player_styles": "styles",
    }
    tags += [tag for name, tag in flags.items() if config.get(name)]
    tags += ["smoothed"] if config.get("label_smoothing") else []
    tags += ["distilled"] if config.get("teacher") or config.get("soft_labels") else []
    return tuple(str(tag) for tag in tags if tag)


def _parents(facts: Mapping[str, Any]) -> Iterator[str]:
    distillation = facts.get("distillation") or {}
    origins = (facts.get("init_from"), facts.get("pretrained"), distillation.get("teacher"))
    for origin in origins:
        if isinstance(origin, dict) and isinstance(origin.get("weights_sha256"), str):
            yield origin["weights_sha256"]


def _entry(values: Mapping[str, Any]) -> Entry:
    entry = Entry(**values)
    return dataclasses.replace(entry, tags=tuple(entry.tags), parents=tuple(entry.parents))

"""Where a run's policy came from: `config.json`, enough to say what it is and to train it again.

Data is named by content (the manifest's hash, which covers every shard's), not by paths that stay
the same while files change.
"""

import hashlib
import importlib.metadata
import itertools
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import character_from_name, character_name
from exphil_tf.records.manifest import GAMES, Manifest, to_json

PACKAGES = ("exphil-tf", "tensorflow", "keras", "numpy", "peppi-py", "apache-beam")
PRIVATE = ("replay_files",)
"""Facts that a policy given to others does not tell: names of files may be those of people."""
MOST_FILES = 500
_OF_START = ("folder", "manifest_sha256", "character_distribution")
_KNOWN = 0.01
"""Share of a dataset's frames from which on a character counts as learnt."""
_ROOT = Path(__file__).resolve().parents[2]


def nested(facts: object, *names: str) -> Any:
    """A value within facts that somebody else may have written; None where it is not told.

    Args:
      facts: plain values, whatever they are.
      *names: from the outside in.
    """
    for name in names:
        facts = facts.get(name) if isinstance(facts, Mapping) else None
    return facts


def describe_run(
    *,
    config: Mapping[str, Any],
    seed: int,
    manifest: Manifest,
    data_dir: Path,
    prog: str = "python -m exphil_tf.train",
    sources: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Plain values for `config.json`, without results.

    Args:
      config: the resolved options (`exphil_tf.foundation.config.to_dict`).
      seed: the one that was drawn, if none was given.
      manifest: of the dataset.
      data_dir: its folder.
      prog: the command that trains.
      sources: what is learnt from besides a dataset, by name and content.
      argv: its arguments; those of the process if None.
    """
    return {
        **_describe_start(config, seed=seed, prog=prog, argv=argv),
        "data": describe_data(manifest, data_dir),
        "replay_count": manifest.totals.games,
        "replay_files": replay_files(data_dir),
        **(sources or {}),
        "sources": sorted(sources or {}),
    }


def describe_played(
    *,
    config: Mapping[str, Any],
    seed: int,
    prog: str,
    sources: Mapping[str, Any],
    start: Mapping[str, Any],
    argv: Sequence[str],
) -> dict[str, Any]:
    """As `describe_run`, of a run that learns by playing and has no dataset.

    Args:
      config: the resolved options.
      seed: the one that was drawn, if none was given.
      prog: the command.
      sources: what is learnt from, by name and content.
      start: provenance of the policy that it goes on from, whose dataset is told too.
      argv: the command's arguments.
    """
    started_on = data_of(start)
    return {
        **_describe_start(config, seed=seed, prog=prog, argv=argv),
        "data": {"folder": None, "manifest_sha256": None},
        "start_data": {name: started_on.get(name) for name in _OF_START},
        **sources,
        "sources": sorted(sources),
    }


def data_of(facts: object) -> Mapping[str, Any]:
    """What is told of the dataset that a policy imitates, or imitated before it learnt by playing.

    Args:
      facts: provenance, whoever wrote it.
    """
    own, of_start = nested(facts, "data"), nested(facts, "start_data")
    is_own = nested(own, "manifest_sha256") is not None or not isinstance(of_start, Mapping)
    found = own if is_own else of_start
    return found if isinstance(found, Mapping) else {}


def unfamiliar(facts: object, character: str) -> str | None:
    """A sentence on a character that is hardly in the games that a policy imitates.

    Args:
      facts: provenance, whoever wrote it.
      character: as `melee.enums.character_name` has it.

    Returns: None if it is there, or the policy learnt by playing it, or nothing is told.
    """
    if _played(facts) == character:
        return None
    told = data_of(facts).get("character_distribution")
    counts = {
        str(name): int(frames)
        for name, frames in (told.items() if isinstance(told, Mapping) else ())
        if isinstance(frames, int | float) and 0 < frames < float("inf")
    }
    total = sum(counts.values())
    if not total or counts.get(character, 0) >= _KNOWN * total:
        return None
    most = sorted(counts, key=lambda name: -counts[name])[:3]
    shares = ", ".join(f"{name} ({counts[name] / total:.0%})" for name in most)
    return (
        f"the policy has seen {character} in {counts.get(character, 0) / total:.1%} of the frames "
        f"that it imitates; --character may name what it has seen more of: {shares}"
    )


def _played(facts: object) -> str | None:
    """The character that a policy learnt by playing, if it did."""
    named = nested(facts, "config", "character")
    try:
        return character_name(character_from_name(named)) if isinstance(named, str) else None
    except ValueError:
        return None


def _describe_start(
    config: Mapping[str, Any], *, seed: int, prog: str, argv: Sequence[str] | None
) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "config": dict(config),
        "schema_fingerprint": SCHEMA.fingerprint(),
        "git_commit": git_commit(),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": [*prog.split(), *(sys.argv[1:] if argv is None else argv)],
        "results": None,
    }


def describe_data(manifest: Manifest, data_dir: Path) -> dict[str, Any]:
    """What a dataset holds, by content."""
    return {
        "folder": str(data_dir),
        "manifest_sha256": manifest_sha256(manifest),
        "input_hash": manifest.input_hash,
        "games": manifest.totals.games,
        "rejected": manifest.totals.rejected,
        "training_frames": manifest.frames("train"),
        "validation_frames": manifest.frames("validation"),
        "test_frames": manifest.frames("test"),
        "character_distribution": dict(manifest.stats["train"].characters)
        if "train" in manifest.stats
        else {},
        "preprocessing": dict(manifest.config),
    }


def replay_files(data_dir: Path) -> list[str]:
    """Files of the first games of a dataset, `MOST_FILES` of them at most."""
    try:
        with (data_dir / GAMES).open(encoding="utf-8") as lines:
            return [str(json.loads(line)["file"]) for line in itertools.islice(lines, MOST_FILES)]
    except (OSError, ValueError, KeyError, TypeError):  # a damaged list is no reason to end a run
        return []


def manifest_sha256(manifest: Manifest) -> str:
    """Hex digest of the manifest's canonical bytes, which name every shard's sha256."""
    return hashlib.sha256(to_json(manifest)).hexdigest()


def package_versions() -> dict[str, str]:
    """Installed versions of what decides a run's numbers; absent ones are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the checkout this runs from, with `-dirty` after it if files differ, or None."""
    if not (_ROOT / ".git").exists():
        return None
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

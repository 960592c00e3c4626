"""The manifest: what makes a folder a dataset, and all that training knows of preprocessing.

It is written last, so a folder without one is an unfinished job. It names the schema with one
digest per field (a mismatch can then say which fields differ), the configuration, every shard with
checksum and counts, and what was rejected. Its bytes are canonical (sorted keys, no time, no host),
so equal inputs, configuration and library versions give equal manifests; `games.jsonl` and
`rejected.jsonl` beside it hold one line per input file.

Its first line is a checksum of all the others, and it holds that of every other file: whatever byte
of a dataset changes, something no longer fits. `seal` and `_unsealed` are the two sides of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation.errors import UserError, shown
from exphil_tf.melee.controls import STICK_STEPS
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT

MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
GAMES = "games.jsonl"
FORMAT_VERSION = 3
"""Version 1 had no checksum of its own, and told players apart by a hash that could be guessed.
Version 2 had no lengths of games (`records.game_lengths`), and did not say who won."""
STICK_VALUES = 2 * STICK_STEPS + 1
"""Readings of a stick axis: -80 to 80, in 1/80."""


_CHECKSUM = re.compile(rb'\{\n  "checksum": "([0-9a-f]{64})",\n')
_AGAIN = "Preprocess again with --overwrite."


class ManifestError(UserError):
    """A dataset that cannot be used: says why, what to do, and how a command ends (65)."""

    def __init__(self, message: str, next_step: str = _AGAIN, *, exit_code: int = EXIT_DATA):
        super().__init__(message, next_step, exit_code=exit_code)


class NoDataset(ManifestError):
    """There is no folder, or no finished dataset in it (66)."""

    def __init__(self, message: str, next_step: str):
        super().__init__(message, next_step, exit_code=EXIT_NO_INPUT)


class IncompatibleDataset(ManifestError):
    """A dataset of another schema or format (78)."""

    def __init__(self, message: str, next_step: str = _AGAIN):
        super().__init__(message, next_step, exit_code=EXIT_INCOMPATIBLE)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardEntry(_Strict):
    """One TFRecord file."""

    path: str
    """Relative to the manifest."""
    sha256: str
    bytes: int
    records: int
    games: int
    frames: int
    """Game frames that its records own; overlaps are not counted twice."""


class FileEntry(_Strict):
    """A file beside the shards."""

    path: str
    sha256: str
    bytes: int
    lines: int


class SplitStats(_Strict):
    """Counts over the original variant of one split."""

    games: int = 0
    frames: int = 0
    perspective_frames: int = 0
    """Frames times the players that may be imitated; divide the counts below by it."""
    characters: dict[str, int] = Field(default_factory=dict)
    """Perspective-frames by own character (internal name, lower case)."""
    opponents: dict[str, int] = Field(default_factory=dict)
    """Perspective-frames by the opponent's character."""
    stages: dict[str, int] = Field(default_factory=dict)
    """Games by stage (lower case)."""
    routes: dict[str, int] = Field(default_factory=dict)
    """Games by how they were read: strict, repaired, libmelee."""
    spoiled_frames: int = 0
    """Frames that give no label: filled in, or with a value masked (`exphil_tf.replays.rows`)."""
    absent: dict[str, int] = Field(default_factory=dict)
    """Games that lack columns, by the replay version that added these (`3.8`)."""
    recorded: dict[str, int] = Field(default_factory=dict)
    """Games that have them; moving stage parts count only where the stage has some."""
    buttons_down: dict[str, int] = Field(default_factory=dict)
    """Perspective-frames on which a button is held."""
    buttons_pressed: dict[str, int] = Field(default_factory=dict)
    """Perspective-frames on which it goes down."""
    sticks: dict[str, list[int]] = Field(default_factory=dict)
    """Perspective-frames by stick reading, -80/80 to 80/80, for each of `controls.AXES`."""
    lengths: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Games by the bit mask of the players that may be imitated, then by length in frames."""

    def press_rates(self) -> dict[str, float]:
        """Share of perspective-frames on which each button is held."""
        return {
            name: self.buttons_down.get(name, 0) / max(1, self.perspective_frames)
            for name in BUTTONS
        }


class PlayerEntry(_Strict):
    """A player that a policy can be conditioned on."""

    id: int
    """What `player_ids` of a record holds, from 1; 0 is anybody else."""
    player: str
    """Pseudonym: a keyed hash of the connect code (`exphil_tf.replays.players`)."""
    games: int


class Totals(_Strict):
    """Every input file is in exactly one of `games` and `rejected`."""

    files: int
    games: int
    rejected: int
    frames: int
    perspective_frames: int
    """Over all variants."""
    shards: int
    records: int
    bytes: int
    """Of the shards."""

    @property
    def bytes_per_perspective_frame(self) -> float:
        """Disk space per frame, perspective and variant."""
        return self.bytes / max(1, self.perspective_frames)


class Manifest(_Strict):
    """A finished dataset; see the module."""

    format_version: int
    fingerprint: str
    """`SCHEMA.fingerprint()` of the writer."""
    digests: dict[str, str]
    """One digest per schema field."""
    row_bytes: int
    chunk_frames: int
    overlap_frames: int
    config: dict[str, Any]
    """What decides the content; paths, workers and limits are left out."""
    input_hash: str
    """Hash of the set of input files, by content."""
    splits: dict[str, dict[str, list[ShardEntry]]]
    """split → variant → shards in order."""
    stats: dict[str, SplitStats]
    """By split."""
    rejects: dict[str, int]
    """Input files by the reason for which they gave no records."""
    players: list[PlayerEntry]
    totals: Totals
    files: dict[str, FileEntry]
    """`games.jsonl`, `rejected.jsonl`."""
    libraries: dict[str, str]

    def shards(self) -> list[ShardEntry]:
        """Every shard."""
        return [
            entry
            for variants in self.splits.values()
            for shards in variants.values()
            for entry in shards
        ]

    def unrecorded(self, split: str = "train") -> int:
        """Bits of `absent` for columns that every game of a split lacks which could have them."""
        found = self.stats.get(split, SplitStats())
        return sum(
            bit
            for (major, minor), bit in SCHEMA.absent_bits.items()
            if (name := f"{major}.{minor}") in found.absent and not found.recorded.get(name)
        )

    def frames(self, split: str, variant: str = "original") -> int:
        """Game frames of a split; 0 if it is not there."""
        return sum(entry.frames for entry in self.splits.get(split, {}).get(variant, []))


def to_json(manifest: Manifest) -> bytes:
    """Canonical bytes: sorted keys, two spaces, a final newline, the checksum first."""
    return seal(manifest.model_dump(mode="json"))


def seal(values: Mapping[str, Any]) -> bytes:
    """A manifest's bytes from its plain values; a checksum among them is made anew.

    Raises: ValueError: if a key sorts before `checksum`, which must be the first line.
    """
    plain = {**values, "checksum": "0" * 64}
    text = json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n"
    head = _CHECKSUM.match(text)
    if head is None:
        raise ValueError(f"manifest: want checksum first. Received: {min(plain)}")
    digest = _digest(text[head.end() :])
    return text[: head.start(1)] + digest.encode() + text[head.end(1) :]


def _digest(rest: bytes) -> str:
    """Hex digest of what follows the checksum's line."""
    return hashlib.sha256(rest).hexdigest()


def json_lines(lines: list[dict[str, Any]]) -> list[bytes]:
    """Canonical lines of JSON, sorted."""
    texts = sorted(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
    return [text.encode("utf-8", "backslashreplace") for text in texts]


def load_manifest(folder: Path | str, *, check_schema: bool = True) -> Manifest:
    """The manifest of a finished dataset; its errors are what a command tells its user.

    Args:
      folder: the dataset's folder, or its manifest.
      check_schema: refuse records of another schema, whose bytes would mean something else.

    Raises:
      NoDataset: if there is no such folder, or no finished dataset in it (66).
      IncompatibleDataset: if schema or format differ; lists the differing fields (78).
      ManifestError: if a byte of the manifest changed (65).
    """
    path = Path(folder)
    path = path if path.name == MANIFEST else path / MANIFEST
    words = ("python", "-m", "exphil_tf.preprocess", "--replays", "DIR", "--output")
    make = shlex.join([*words, _place_for(path.parent)])
    if not path.parent.is_dir():
        raise NoDataset(f"{path.parent}: no such folder", f"Make a dataset: {make}.")
    if not path.is_file():
        missing = f"not a finished dataset (no {MANIFEST})"
        raise NoDataset(f"{path.parent}: {missing}", f"Make one: {make}.")
    manifest = _parse(path)
    if check_schema:
        check_fingerprint(manifest, path)
    return manifest


def _place_for(folder: Path) -> str:
    """Where a dataset may be made that is missing: its folder, unless it holds something else."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    is_free = all(n.startswith(".") or n.endswith((".tfrecord", ".jsonl")) for n in names)
    is_there = folder.exists() and not folder.is_dir()
    return str(folder) if is_free and not is_there else "datasets/NAME"


def _parse(path: Path) -> Manifest:
    values = _unsealed(path)
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path}: {where}: {first['msg']}") from error


def _unsealed(path: Path) -> dict[str, Any]:
    """Plain values without the checksum, which was found right."""
    data = path.read_bytes()
    head = _CHECKSUM.match(data)
    is_sound = head is not None and head[1].decode() == _digest(data[head.end() :])
    if head is not None and not is_sound:
        raise ManifestError(f"{path}: damaged, its checksum differs", _COPY)
    try:
        values = cast(object, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: damaged, not JSON: {str(error):.200}", _COPY) from error
    plain = cast(dict[str, Any], values) if isinstance(values, dict) else {}
    version = plain.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise IncompatibleDataset(
            f"{path}: want format version {FORMAT_VERSION}. Received: {shown(version)}"
        )
    if not is_sound:
        raise ManifestError(f"{path}: damaged, its first line is no checksum", _COPY)
    del plain["checksum"]
    return plain | {"format_version": version}


_COPY = "Copy the dataset again, or preprocess again with --overwrite."


def check_fingerprint(manifest: Manifest, path: Path) -> None:
    """Refuses records of another schema.

    Raises:
      IncompatibleDataset: lists the differing fields.
    """
    if manifest.fingerprint == SCHEMA.fingerprint() and manifest.row_bytes == ROW_BYTES:
        return
    raise IncompatibleDataset(
        f"{path}: {SCHEMA.mismatch(manifest.fingerprint, manifest.digests)}",
    )

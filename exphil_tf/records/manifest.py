"""The manifest: what makes a folder a dataset, and all that training knows of preprocessing.

It is written last, so a folder without one is an unfinished job. It names the schema with one
digest per field (a mismatch can then say which fields differ), the configuration, every shard with
checksum and counts, and what was rejected. Its bytes are canonical (sorted keys, no time, no host),
so equal inputs, configuration and library versions give equal manifests; `games.jsonl` and
`rejected.jsonl` beside it hold one line per input file.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import BUTTONS

MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
GAMES = "games.jsonl"
FORMAT_VERSION = 1
AXES = ("main_x", "main_y", "c_x", "c_y")
STICK_VALUES = 161
"""Readings of a stick axis: -80 to 80, in 1/80."""


class ManifestError(ValueError):
    """A dataset that cannot be used; the message says why and what to do."""


class IncompatibleDataset(ManifestError):
    """A dataset of another schema or format."""


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
    buttons_down: dict[str, int] = Field(default_factory=dict)
    """Perspective-frames on which a button is held."""
    buttons_pressed: dict[str, int] = Field(default_factory=dict)
    """Perspective-frames on which it goes down."""
    sticks: dict[str, list[int]] = Field(default_factory=dict)
    """Perspective-frames by stick reading, -80/80 to 80/80, for each of `AXES`."""

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

    def frames(self, split: str, variant: str = "original") -> int:
        """Game frames of a split; 0 if it is not there."""
        return sum(entry.frames for entry in self.splits.get(split, {}).get(variant, []))


def to_json(manifest: Manifest) -> bytes:
    """Canonical bytes: sorted keys, two spaces, a final newline."""
    text = json.dumps(
        manifest.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False
    )
    return text.encode() + b"\n"


def json_lines(lines: list[dict[str, Any]]) -> list[bytes]:
    """Canonical lines of JSON, sorted."""
    texts = sorted(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
    return [text.encode("utf-8", "backslashreplace") for text in texts]


def load_manifest(folder: Path | str, *, check_schema: bool = True) -> Manifest:
    """The manifest of a finished dataset.

    Args:
      folder: the dataset's folder, or its manifest.
      check_schema: refuse records of another schema, whose bytes would mean something else.

    Raises:
      FileNotFoundError: if there is no such folder.
      IncompatibleDataset: if schema or format differ; lists the differing fields.
      ManifestError: if the dataset is unfinished or its manifest damaged.
    """
    path = Path(folder)
    path = path if path.name == MANIFEST else path / MANIFEST
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path.parent))
    if not path.is_file():
        folder = shlex.quote(str(path.parent))
        raise ManifestError(
            f"{path.parent}: not a finished dataset (no {MANIFEST}). "
            f"Run `python -m exphil_tf.preprocess --replays DIR --output {folder}`"
        )
    manifest = _parse(path)
    if check_schema:
        check_fingerprint(manifest, path)
    return manifest


def _parse(path: Path) -> Manifest:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path}: damaged, not JSON: {error}. Preprocess again with --overwrite"
        ) from error
    version = cast(Any, values).get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise IncompatibleDataset(
            f"{path}: want format version {FORMAT_VERSION}. Received: {version!r:.40}. "
            "Preprocess again with --overwrite"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(
            f"{path}: {where}: {first['msg']}. Preprocess again with --overwrite"
        ) from error


def check_fingerprint(manifest: Manifest, path: Path) -> None:
    """Refuses records of another schema.

    Raises:
      IncompatibleDataset: lists the differing fields.
    """
    if manifest.fingerprint == SCHEMA.fingerprint() and manifest.row_bytes == ROW_BYTES:
        return
    raise IncompatibleDataset(
        f"{path}: {SCHEMA.mismatch(manifest.fingerprint, manifest.digests)}. "
        "Preprocess the replays again with --overwrite"
    )

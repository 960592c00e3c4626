"""A dataset as commands open it: its manifest, after its shards were compared with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_tf.process.console import progress
from exphil_tf.records import integrity
from exphil_tf.records.integrity import VerifyData
from exphil_tf.records.manifest import Manifest, load_manifest

if TYPE_CHECKING:
    from exphil_tf.data.input_config import InputConfig


@dataclass(frozen=True)
class Dataset:
    """A finished dataset."""

    folder: Path
    manifest: Manifest

    @property
    def has_validation(self) -> bool:
        """Whether it has games to validate on."""
        return self.manifest.frames("validation") > 0


def open_for_training(
    folder: Path, reading: InputConfig, console: Console, *, mode: VerifyData
) -> Dataset:
    """A dataset whose shards, of the variants that will be read, were compared with its manifest.

    Raises: ManifestError: tells what is missing, damaged or of another schema.
    """
    use_variants = reading.augment and reading.augment_from == "variants"
    manifest = load_checked(
        folder,
        console,
        splits=("train", "validation"),
        variants=None if use_variants else ("original",),
        mode=mode,
    )
    return Dataset(folder, manifest)


def load_checked(
    folder: Path,
    console: Console,
    *,
    splits: Collection[str],
    variants: Collection[str] | None = ("original",),
    mode: VerifyData = "once",
) -> Manifest:
    """The manifest of a sound dataset.

    Args:
      folder: of the dataset.
      console: is told how hashing goes, if it takes long.
      splits: that will be read.
      variants: that will be read; None for all.
      mode: see `VerifyData`.

    Raises: ManifestError: tells what is missing, damaged or of another schema.
    """
    manifest = load_manifest(folder)
    shards = integrity.entries(manifest, splits=splits, variants=variants)
    total = sum(entry.bytes for entry in shards)
    with progress(console, total, "checked", what="bytes of shards") as on_bytes:
        integrity.check(folder, manifest, shards=shards, mode=mode, on_bytes=on_bytes)
    return manifest

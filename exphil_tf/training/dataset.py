"""A dataset as commands open it: its manifest, after its shards were compared with it."""

from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from exphil_tf.process.console import progress
from exphil_tf.records import integrity
from exphil_tf.records.integrity import VerifyData
from exphil_tf.records.manifest import Manifest, load_manifest


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

"""The games of a dataset's split, one by one, in the order of its shards."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from exphil_tf.records.example import Chunk, decode_chunk
from exphil_tf.records.manifest import Manifest, ManifestError
from exphil_tf.records.shards import read_records


def split_games(manifest: Manifest, folder: Path, split: str) -> Iterator[list[Chunk]]:
    """The chunks of each game; a shard holds all chunks of its games, side by side.

    Raises: ManifestError: if a shard holds other records than ours (65).
    """
    for entry in manifest.splits.get(split, {}).get("original", []):
        path = folder / entry.path
        try:
            chunks = map(decode_chunk, read_records(path))
            for _, game in itertools.groupby(chunks, key=lambda chunk: chunk.meta.key):
                yield list(game)
        except ValueError as error:  # a sound shard whose records are none of ours
            raise ManifestError(f"{path}: {error}") from error

"""A small dataset of synthetic games, and a reader that shares no code with the input graph."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from exphil_tf.data.sampling import Source
from exphil_tf.features.packing import ROW_BYTES, mirror_planes, noisy_planes, pack_planes
from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.foundation.atomic import write_file
from exphil_tf.melee.types import Frames
from exphil_tf.records.example import ChunkMeta, encode_chunks
from exphil_tf.records.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    Manifest,
    ShardEntry,
    SplitStats,
    Totals,
    to_json,
)
from exphil_tf.records.shards import ShardName, frame
from tests.strategies import make_frames

CHUNK, OVERLAP = 64, 40
LENGTHS = (70, 85, 150, 256, 257, 300, 391)
"""Games too short for any label, barely long enough, of whole chunks, with tails of one row."""
FOX, FALCO = 1, 22


class Games(NamedTuple):
    """What was written: the truth that batches are held against."""

    folder: Path
    frames: list[Frames]
    perspectives: list[int]

    def rows(self, game: int, player: int) -> dict[str, np.ndarray]:
        """Columns of a game as a player sees them, cut out of `Frames` without packing tables."""
        columns = dict(self.frames[game].columns)
        if player == 1:
            for field in SCHEMA.fields:
                if field.shape == (2,):
                    columns[field.name] = columns[field.name][:, ::-1]
        return columns

    def source(self, variants: Sequence[str] = ("original",)) -> Source:
        """The shards, for `input.from_source`."""
        shards = {v: sorted(map(str, self.folder.glob(f"train-{v}-*"))) for v in variants}
        return Source(shards, CHUNK, OVERLAP, {FOX: 3, FALCO: 1})


def player_id(game: int, player: int) -> int:
    """Unique per game and player, so that a batch tells where each unroll is from."""
    return 2 * game + player + 1


def make_game(game: int, length: int) -> Frames:
    """Random columns; the controller spells (row, player)."""
    made = make_frames(seed=game, num_frames=length, extremes=0.1, on_grid=True)
    columns = dict(made.columns)
    row = np.arange(length)
    columns["frame"] = (row - 123).astype(np.int32)
    spoiled = np.random.default_rng(game).random(length) < 0.05
    columns["absent"] = (columns["absent"] & ~np.uint8(SPOILED)) | np.uint8(SPOILED) * spoiled
    spelled = np.stack([row % 160 - 80, row // 160 - 80], 1) / np.float32(80)
    for axis, name in enumerate(("c.main_x", "c.main_y")):
        columns[name] = np.repeat(spelled[:, axis : axis + 1], 2, 1).astype(np.float32)
    # Players who change their character now and then, as Zelda does.
    changes = row[:, None] // 37 % np.array([2, 3]) == 0
    columns["p.character"] = np.where(changes, FOX, FALCO).astype(np.uint8)
    columns["c.shoulder"] = np.tile(np.float32([0, 1]), (length, 1))
    return Frames(columns)


def write_variant(folder: Path, variant: str, games: Games, num_shards: int) -> list[ShardEntry]:
    """Writes the shards of a variant as preprocessing does: games dealt to shards, in order."""
    shards: list[list[bytes]] = [[] for _ in range(num_shards)]
    for game, frames in enumerate(games.frames):
        planes = pack_planes(frames)
        if variant == "mirrored":
            planes = mirror_planes(planes)
        elif variant.startswith("noisy"):
            planes = noisy_planes(planes, 0.01, np.random.default_rng(game))
        meta = ChunkMeta(
            f"game{game}".encode(),
            games.perspectives[game],
            (player_id(game, 0), player_id(game, 1)),
            (FOX, FALCO) if game % 2 else (FALCO, FALCO),
        )
        records = encode_chunks(planes, meta, chunk_frames=CHUNK, overlap_frames=OVERLAP)
        shards[game % num_shards] += records
    entries = []
    for number, records in enumerate(shards):
        path = folder / ShardName("train", variant, number, num_shards).path
        written = write_file(path, map(frame, records))
        entries.append(
            ShardEntry(
                path=written.path,
                sha256=written.sha256,
                bytes=written.bytes,
                records=len(records),
                games=len(games.frames[number::num_shards]),
                frames=sum(map(len, games.frames[number::num_shards])),
            )
        )
    return entries


def write_games(folder: Path, lengths: Sequence[int], *, perspectives: Sequence[int]) -> Games:
    """A finished dataset with a manifest: original, mirrored and one noisy variant in 3 shards."""
    frames = [make_game(game, length) for game, length in enumerate(lengths)]
    games = Games(folder, frames, list(perspectives))
    names = ("original", "mirrored", "noisy_1")
    splits = {"train": {name: write_variant(folder, name, games, 3) for name in names}}
    entries = [entry for some in splits["train"].values() for entry in some]
    counts: dict[str, dict[str, int]] = {}
    for length, mask in zip(lengths, perspectives, strict=True):
        by_length = counts.setdefault(str(mask), {})
        by_length[str(length)] = by_length.get(str(length), 0) + 1
    seen = sum(
        length * mask.bit_count() for length, mask in zip(lengths, perspectives, strict=True)
    )
    stats = SplitStats(
        games=len(frames), frames=sum(lengths), perspective_frames=seen,
        characters={"fox": 3, "falco": 1}, lengths=counts,
    )  # fmt: skip
    totals = Totals(
        files=len(frames), games=len(frames), rejected=0, frames=sum(lengths),
        perspective_frames=seen, shards=len(entries), records=sum(one.records for one in entries),
        bytes=sum(one.bytes for one in entries),
    )  # fmt: skip
    manifest = Manifest(
        format_version=FORMAT_VERSION, fingerprint=SCHEMA.fingerprint(), digests=SCHEMA.digests(),
        row_bytes=ROW_BYTES, chunk_frames=CHUNK, overlap_frames=OVERLAP, config={}, input_hash="",
        splits=splits, stats={"train": stats}, rejects={}, players=[], totals=totals, files={},
        libraries={},
    )  # fmt: skip
    write_file(folder / MANIFEST, [to_json(manifest)])
    return games


@pytest.fixture(scope="session")
def games(tmp_path_factory: pytest.TempPathFactory) -> Games:
    folder = tmp_path_factory.mktemp("dataset")
    return write_games(folder, LENGTHS, perspectives=[3, 3, 3, 1, 3, 2, 3])


@pytest.fixture
def make_games(tmp_path: Path) -> Callable[..., Games]:
    """Writes another dataset: `make_games(lengths, perspectives=…)`."""

    def make(lengths: Sequence[int], perspectives: Sequence[int] | None = None) -> Games:
        return write_games(tmp_path, lengths, perspectives=perspectives or [3] * len(lengths))

    return make

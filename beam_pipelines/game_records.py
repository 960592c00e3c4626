"""What a worker does with one replay: look at its header, or turn the whole of it into records.

Plain functions of one file, without Beam: `encode_game` runs in an isolated process that must not
import Beam (2 s, 200 MB), and both are tested alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
from typing import NamedTuple

import numpy as np

from beam_pipelines.settings import RecordConfig
from exphil_tf.features import packing
from exphil_tf.melee.types import Game, GameInfo
from exphil_tf.records import stats
from exphil_tf.records.example import ChunkMeta, encode_variants
from exphil_tf.records.shards import frame
from exphil_tf.replays import filters, quality, slp, sources
from exphil_tf.replays.errors import ReplayError
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.parse import Replay, read_replay
from exphil_tf.replays.sources import Source

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's names of two `mallopt` parameters."""


class Scanned(NamedTuple):
    """What one input file is, before parsing.

    Attributes:
      source: where it lies.
      sha256: of its bytes; empty if they could not be read.
      size: in bytes.
      info: its header; None if it has none.
      num_frames: estimated.
      reason, detail: why it is no replay; empty if it may be one.
    """

    source: Source
    sha256: str = ""
    size: int = 0
    info: GameInfo | None = None
    num_frames: int = 0
    reason: str = ""
    detail: str = ""

    @property
    def content(self) -> str:
        """The file's hash, or what is known of an unreadable one; input sets are compared by it."""
        return self.sha256 or f"{self.reason}:{self.source.label}"


def scan_source(source: Source, data: bytes | None = None) -> Scanned:
    """Hashes a file and reads its header: pure Python and bounded, hence safe in any process.

    Args:
      source: the file.
      data: its bytes, if somebody else has read them.
    """
    _keep_memory()
    sha256, size = "", 0
    try:
        data = sources.read_bytes(source) if data is None else data
        sha256, size = hashlib.sha256(data).hexdigest(), len(data)
        container = slp.scan(data)
        info = slp.read_header(data, container)
        return Scanned(source, sha256, size, info, slp.estimate_frames(data, container))
    except ReplayError as error:
        return Scanned(source, sha256, size, reason=str(error.reason), detail=error.detail)


class GameTask(NamedTuple):
    """A game to be encoded; everything that only the whole collection could decide is decided.

    Attributes:
      source, sha256: of the file.
      key: 32 hex digits or more, unique in the dataset.
      split: train, validation or test.
      shard, num_shards: its place in the split.
      player_ids: registry index of each player.
    """

    source: Source
    sha256: str
    key: str
    split: str
    shard: int
    num_shards: int
    player_ids: tuple[int, int] = (0, 0)


class EncodedGame(NamedTuple):
    """A game's records.

    Attributes:
      perspectives: bit mask of the players that may be imitated; 0 if the game is excluded.
      exclusion: why it is, else empty.
      detail: of the exclusion.
      variants: variant → TFRecord bytes, framed, ready to be joined.
      num_records: per variant.
      frames: length of the game.
      tally: of `records.stats`.
      characters: internal id of each player at the first frame.
      stage: external id.
      note: what was repaired.
    """

    perspectives: int
    exclusion: str = ""
    detail: str = ""
    variants: dict[str, bytes] = {}  # noqa: RUF012 - never mutated
    num_records: int = 0
    frames: int = 0
    tally: stats.Tally = {}  # noqa: RUF012
    characters: tuple[int, int] = (0, 0)
    stage: int = 0
    note: str = ""


class EncodeItem(NamedTuple):
    """The argument of `encode_game`; `data` only if the file is out of a worker's reach."""

    task: GameTask
    filters: FilterConfig
    records: RecordConfig
    data: bytes | None = None


def read_game(item: EncodeItem) -> Replay:
    """Reads and parses a game's file.

    Raises:
      ReplayError: if it can't be read.
    """
    _keep_memory()
    source = item.task.source
    if item.data is not None:
        return read_replay(item.data)
    return read_replay(source.path if sources.is_plain(source) else sources.read_bytes(source))


def encode_game(item: EncodeItem) -> EncodedGame:
    """Reads, judges and encodes one game. Runs in an isolated worker.

    Raises:
      ReplayError: if it can't be read.
    """
    task, config = item.task, item.records
    replay = read_game(item)
    game = replay.game
    selection = filters.select(game, item.filters)
    if selection.exclusion is not None:
        return EncodedGame(0, str(selection.exclusion))
    excluded = _judge_quality(game, item.filters)
    if excluded:
        return EncodedGame(0, str(filters.Exclusion.QUALITY), excluded)
    planes = packing.pack_planes(game.frames)
    first = game.frames["p.character"][0].tolist()
    meta = ChunkMeta(
        key=task.key.encode(),
        perspectives=selection.perspectives,
        player_ids=task.player_ids,
        characters=(first[0], first[1]),
        stage=game.info.stage,
    )
    variants, num_records = _encode_variants(planes, meta, config)
    tally = stats.tally_game(
        game.frames,
        planes,
        perspectives=selection.perspectives,
        stage=game.info.stage,
        route=str(replay.route),
    )
    return EncodedGame(
        selection.perspectives,
        variants=variants,
        num_records=num_records,
        frames=len(game.frames),
        tally=tally,
        characters=meta.characters,
        stage=game.info.stage,
        note=replay.note,
    )


def _judge_quality(game: Game, config: FilterConfig) -> str:
    """Why a game's quality is too low; empty if it is not."""
    if config.min_quality is None:
        return ""
    found = quality.assess(game)
    if found.score >= config.min_quality:
        return ""
    return found.failure or f"score {found.score:.0f}, want at least {config.min_quality}"


def _encode_variants(
    planes: np.ndarray, meta: ChunkMeta, config: RecordConfig
) -> tuple[dict[str, bytes], int]:
    records = encode_variants(
        planes,
        {name: _changes(planes, name, key=meta.key, config=config) for name in config.all_variants},
        meta,
        chunk_frames=config.chunk_frames,
        overlap_frames=config.overlap_frames,
    )
    joined = {name: b"".join(map(frame, some)) for name, some in records.items()}
    return joined, len(records["original"])


def _changes(
    planes: np.ndarray, variant: str, *, key: bytes, config: RecordConfig
) -> packing.Replaced | None:
    if variant == "original":
        return None
    if variant == "mirrored":
        return packing.mirror(planes)
    seed = hashlib.md5(f"{variant}:{key.decode()}".encode(), usedforsecurity=False).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(seed, "big")))
    return packing.noise(planes, config.noise_scale, rng)


@functools.cache
def _keep_memory() -> None:
    """Keeps freed memory instead of mapping it anew for each game, which takes 12 % of the time."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)

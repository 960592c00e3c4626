"""What a worker does with one replay: look at its header, or turn the whole of it into chunks.

Plain functions of one file, without Beam: `encode_game` runs in an isolated process that must not
import Beam (2 s, 200 MB), and both are tested alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
from typing import NamedTuple

import numpy as np

from exphil_tf.features import packing
from exphil_tf.features.schema import SPOILED
from exphil_tf.melee.types import Frames
from exphil_tf.preprocessing import encoded_games
from exphil_tf.preprocessing.dataset_config import RecordConfig
from exphil_tf.records import stats
from exphil_tf.records.example import pack_variants
from exphil_tf.replays import duplicates, filters, outcome, players, slp, sources
from exphil_tf.replays.duplicates import Copy
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.parse import Replay, Route, read_replay
from exphil_tf.replays.refusals import ReplayError
from exphil_tf.replays.sources import Source

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's names of two `mallopt` parameters."""


class Scanned(NamedTuple):
    """What one input file is, before parsing.

    Attributes:
      source: where it lies.
      sha256: of its bytes; empty if they could not be read.
      identity: of the game that it says it holds (`replays.duplicates`).
      reason, detail: why it gives no records; empty if it may.
    """

    source: Source
    sha256: str = ""
    identity: str = ""
    reason: str = ""
    detail: str = ""

    @property
    def content(self) -> str:
        """The file's hash, or what is known of an unreadable one; input sets are compared by it."""
        return self.sha256 or f"{self.reason}:{self.source.label}"


def scan_source(
    source: Source,
    data: bytes | None = None,
    *,
    config: FilterConfig | None = None,
    key: str = players.PUBLIC_KEY,
) -> Scanned:
    """Hashes a file and judges its header: pure Python and bounded, hence safe in any process.

    Args:
      source: the file.
      data: its bytes, if somebody else has read them.
      config: which games are wanted; None: all.
      key: of the pseudonyms; the codes of players are part of some identities.
    """
    _keep_memory()
    sha256 = ""
    try:
        data = sources.read_bytes(source) if data is None else data
        sha256 = hashlib.sha256(data).hexdigest()
        info = slp.read_header(data)
    except ReplayError as error:
        return Scanned(source, sha256, reason=str(error.reason), detail=error.detail)
    exclusion = None if config is None else filters.check(info, config)
    if exclusion is not None:
        return Scanned(source, sha256, reason=str(exclusion))
    return Scanned(source, sha256, duplicates.identity(info, sha256, key=key))


class GameTask(NamedTuple):
    """A file to be parsed.

    Attributes:
      source, sha256: of the file.
      identity: of the game that it says it holds.
    """

    source: Source
    sha256: str
    identity: str


class ParsedGame(NamedTuple):
    """What the collection must know of a game that was parsed, passed the filters and is stored.

    Attributes:
      file, sha256, identity: of the file; `file` is its label.
      copy: how it ranks among files of the same game.
      frames: length of the game.
      num_records: per variant.
      perspectives: bit mask of the players that may be imitated.
      players: their pseudonyms.
      characters: internal id of the character that each played most.
      stage: external id.
      winner: index of the player who won (`replays.outcome`).
      note: what was repaired.
      place: where its parts wait.
    """

    file: str
    sha256: str
    identity: str
    copy: Copy
    frames: int
    num_records: int
    perspectives: int
    players: tuple[str, str]
    characters: tuple[int, int]
    stage: int
    winner: int = outcome.NOBODY
    note: str = ""
    place: encoded_games.Place = encoded_games.Place()


class EncodedGame(NamedTuple):
    """What became of a readable file.

    Attributes:
      game: None if the game is excluded.
      exclusion: why it is, else empty.
      detail: of the exclusion.
      parts: the game's tally as JSON, then the chunks of each variant (`encoded_games`).
    """

    game: ParsedGame | None
    exclusion: str = ""
    detail: str = ""
    parts: tuple[bytes, ...] = ()


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


def rank_copy(replay: Replay, sha256: str) -> Copy:
    """How a parsed file ranks among those of the same game."""
    return Copy(
        route=list(Route).index(replay.route),
        is_cut=replay.game.info.end_method is None,
        missing_frames=-len(replay.game.frames),
        spoiled_frames=spoiled_frames(replay.game.frames),
        sha256=sha256,
        sketch=duplicates.sketch(replay.game.frames),
    )


def spoiled_frames(frames: Frames) -> int:
    """Frames that are filled in or hold a masked value."""
    return int((frames["absent"] & SPOILED != 0).sum())


def main_characters(frames: Frames) -> tuple[int, int]:
    """Internal id of the character that each player was for most frames."""
    first, second = (filters.main_character(frames["p.character"][:, i]) for i in (0, 1))
    return first, second


def encode_game(item: EncodeItem) -> EncodedGame:
    """Reads, judges and encodes one game. Runs in an isolated worker.

    Raises:
      ReplayError: if it can't be read.
    """
    replay = read_game(item)
    game = replay.game
    selection = filters.select(game, item.filters)
    if selection.exclusion is not None:
        return EncodedGame(None, str(selection.exclusion), selection.detail)
    planes = packing.pack_planes(game.frames)
    tally = stats.tally_game(
        game.frames,
        planes,
        perspectives=selection.perspectives,
        stage=game.info.stage,
        route=str(replay.route),
    )
    variants, num_records = _pack_variants(planes, item.task.identity, item.records)
    parsed = _summary(item, replay, perspectives=selection.perspectives, num_records=num_records)
    return EncodedGame(parsed, parts=(json.dumps(tally).encode(), *variants))


def _summary(
    item: EncodeItem, replay: Replay, *, perspectives: int, num_records: int
) -> ParsedGame:
    game, key = replay.game, item.records.pseudonym_key
    first, second = (
        players.pseudonym(players.identity(player), key) for player in game.info.players
    )
    return ParsedGame(
        file=item.task.source.label,
        sha256=item.task.sha256,
        identity=item.task.identity,
        copy=rank_copy(replay, item.task.sha256),
        frames=len(game.frames),
        num_records=num_records,
        perspectives=perspectives,
        players=(first, second),
        characters=main_characters(game.frames),
        stage=game.info.stage,
        winner=outcome.winner(game),
        note=replay.note,
    )


def _pack_variants(
    planes: np.ndarray, identity: str, config: RecordConfig
) -> tuple[list[bytes], int]:
    """The chunks of each variant, in the order of `config.all_variants`, and their number."""
    chunks = pack_variants(
        planes,
        {
            name: _changes(planes, name, identity=identity, config=config)
            for name in config.all_variants
        },
        chunk_frames=config.chunk_frames,
        overlap_frames=config.overlap_frames,
    )
    return [encoded_games.join(some) for some in chunks.values()], len(chunks["original"])


def _changes(
    planes: np.ndarray, variant: str, *, identity: str, config: RecordConfig
) -> packing.Replaced | None:
    if variant == "original":
        return None
    if variant == "mirrored":
        return packing.mirror(planes)
    seed = hashlib.md5(f"{variant}:{identity}".encode(), usedforsecurity=False).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(seed, "big")))
    return packing.noise(planes, config.noise_scale, rng)


@functools.cache
def _keep_memory() -> None:
    """Keeps freed memory instead of mapping it anew for each game, which takes 12 % of the time."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)

"""Whole games, to play forms of a policy on: parity, calibration, latency.

A *perspective* is one game as one of its players saw it. A `GameBatch` lays perspectives end to end
in a few rows that advance together, as a vectorised agent would play them: memory is emptied where
a perspective begins and nowhere else. The action before its first frame is the untouched
controller, as in play; every other previous action is the human's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from exphil_tf.evaluation.metrics import Sample
from exphil_tf.features.conditions import DELAY, RETURN
from exphil_tf.features.controller import COMPONENTS, NEUTRAL_VALUES, ControllerCodec, to_bytes
from exphil_tf.features.packing import action_order, pack, perspective_order, unpack
from exphil_tf.features.schema import SPOILED
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.types import GO_FRAME, Game
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.records import integrity
from exphil_tf.records.example import join_rows
from exphil_tf.records.games import split_games
from exphil_tf.records.manifest import load_manifest

_NO_FRAME = "games: want at least one frame with an answer. Received: none"


class Perspective(NamedTuple):
    """One game as one of its players saw it."""

    columns: Mapping[str, np.ndarray]
    """Schema columns `[frames, …]`, own player first, and `name` int32 `[frames]`."""
    actions: np.ndarray
    """uint8 `[frames, ACTION_BYTES]`: the own controller."""
    game: bytes = b""
    """The game's key in its dataset."""
    player: int = 0
    """Who is the own player, in port order."""


def dataset_perspectives(folder: Path, split: str = "validation") -> Iterator[Perspective]:
    """Perspectives of a dataset's games, whole, of each player who may be imitated, in shard order.

    Raises:
      ManifestError: if there is no dataset (66), it is damaged (65) or of another schema (78).
      UserError: if the split holds no game (66).
    """
    manifest = load_manifest(folder)
    shards = integrity.entries(manifest, splits={split}, variants={"original"})
    integrity.check(folder, manifest, shards=shards)
    found = False
    for chunks in split_games(manifest, folder, split):
        rows, meta = join_rows(chunks), chunks[0].meta
        for player in range(2):
            if meta.perspectives >> player & 1:
                found = True
                seen = _perspective(rows, player, player_id=meta.player_ids[player])
                yield seen._replace(game=meta.key, player=player)
    if not found:
        raise UserError(
            f"{folder}: no games in split {split!r} (splits: {', '.join(sorted(manifest.splits))})",
            "Preprocess more replays, or give that split a larger share.",
            exit_code=EXIT_NO_INPUT,
        )


def game_key(key: bytes) -> str:
    """A game's key as `games.jsonl` has it, and fit for a file's name."""
    text = key.decode("ascii", "replace")
    return text if text.isalnum() else key.hex()


def perspectives_of(games: Iterable[Game]) -> Iterator[Perspective]:
    """Both players' perspectives of games in memory, such as `exphil_tf.samples` makes."""
    for game in games:
        rows = pack(game.frames)
        for player in range(2):
            yield _perspective(rows, player, player_id=0)


def _perspective(rows: np.ndarray, player: int, *, player_id: int) -> Perspective:
    columns = unpack(rows[:, perspective_order(player)]).columns
    name = np.full(len(rows), player_id, np.int32)
    return Perspective({**columns, "name": name}, rows[:, action_order(player)])


@dataclass(frozen=True)
class GameBatch:
    """Perspectives laid end to end in rows that advance together."""

    columns: Mapping[str, np.ndarray]
    """Schema columns `[rows, steps, …]`, own player first, and conditions: the player's id, the
    delay, no desired return."""
    targets: Mapping[str, np.ndarray]
    """The human's buckets that answer each frame: int32 `[rows, steps]`, buttons `[…, 8]`."""
    is_resetting: np.ndarray
    """bool `[rows, steps]`: a game begins."""
    counted: np.ndarray
    """bool `[rows, steps]`: the answer is the human's, not filling and not from before GO, and
    neither it nor the state is spoiled (`replays.rows`)."""

    @property
    def num_rows(self) -> int:
        """Rows that advance together."""
        return self.counted.shape[0]

    @property
    def num_steps(self) -> int:
        """Frames of every row, filling included."""
        return self.counted.shape[1]

    @property
    def frames(self) -> int:
        """Counted frames."""
        return int(self.counted.sum())

    def at(self, step: int) -> dict[str, np.ndarray]:
        """Columns `[rows, …]` of one step (not copies)."""
        return {name: column[:, step] for name, column in self.columns.items()}

    def previous(self, codec: ControllerCodec, span: slice = slice(None)) -> dict[str, np.ndarray]:
        """Buckets of the action before each frame: the human's, or neutral where a game begins.

        Args:
          codec: the policy's buckets.
          span: the steps to tell of.
        """
        neutral = codec.encode(to_bytes(NEUTRAL_VALUES))
        before = np.arange(self.num_steps)[span] - 1
        found: dict[str, np.ndarray] = {}
        for name, target in self.targets.items():
            found[name] = target[:, before]
            found[name][self.is_resetting[:, span]] = neutral[name]
        return found

    def joined_targets(self) -> np.ndarray:
        """int32 `[rows, steps, 13]`: buckets side by side in sampling order."""
        parts = [self.targets[name] for name in COMPONENTS]
        return np.concatenate([p if p.ndim == 3 else p[..., None] for p in parts], axis=-1)


def batch_games(
    perspectives: Iterable[Perspective],
    codec: ControllerCodec,
    *,
    delay: int = 0,
    rows: int = 8,
    max_frames: int = 0,
    multiple: int = 1,
) -> GameBatch:
    """Whole perspectives in rows of about equal length, each from an empty memory.

    Args:
      perspectives: what to play.
      codec: the policy's buckets.
      delay: frames between a state and the input that answers it, beyond 1.
      rows: at most so many side by side.
      max_frames: take no further perspective once so many frames are there; 0 takes all.
      multiple: rows are filled up to a multiple of so many steps.

    Raises: ValueError: if there is no frame with an answer.
    """
    taken: list[_Frames] = []
    for perspective in perspectives:
        taken.append(_answered(perspective, codec, delay))
        if max_frames and sum(map(len, taken)) >= max_frames:
            break
    taken = sorted(filter(len, taken), key=len, reverse=True)
    if not taken:
        raise ValueError(_NO_FRAME)
    filled: list[list[_Frames]] = [[] for _ in range(min(rows, len(taken)))]
    for frames in taken:  # the longest first, each where there is most room
        min(filled, key=lambda row: sum(map(len, row))).append(frames)
    return _stack([_Frames.join(row) for row in filled], multiple)


def long_game(
    perspectives: Sequence[Perspective], codec: ControllerCodec, *, frames: int, delay: int = 0
) -> GameBatch:
    """One row of exactly `frames` frames whose memory is emptied at its first frame only.

    Views follow one another as if they were one game, over again if they are too short.

    Raises: ValueError: if there is no frame with an answer.
    """
    answered = (_answered(perspective, codec, delay) for perspective in perspectives)
    parts = list(filter(len, answered))
    if not parts:
        raise ValueError(_NO_FRAME)
    count = -(-frames // sum(map(len, parts)))
    joined = _Frames.join(parts * count).cut(frames)
    joined.is_resetting[1:] = False
    return _stack([joined], 1)


def sample_of(games: GameBatch, codec: ControllerCodec, span: slice = slice(None)) -> Sample:
    """The counted frames of some steps, as metrics take them."""
    characters = games.columns["p.character"][:, span]
    return Sample.of(
        {name: target[:, span] for name, target in games.targets.items()},
        games.previous(codec, span),
        weights=games.counted[:, span],
        characters=characters[..., 0],
        opponents=characters[..., 1],
        stages=games.columns["s.stage"][:, span],
    )


@dataclass(frozen=True)
class _Frames:
    """Arrays of one row, or of one perspective in it, `[frames, …]`."""

    columns: Mapping[str, np.ndarray]
    targets: Mapping[str, np.ndarray]
    is_resetting: np.ndarray
    counted: np.ndarray

    def __len__(self) -> int:
        return len(self.counted)

    @classmethod
    def join(cls, parts: Sequence["_Frames"]) -> "_Frames":
        def concat(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

        return cls(
            concat([part.columns for part in parts]),
            concat([part.targets for part in parts]),
            np.concatenate([part.is_resetting for part in parts]),
            np.concatenate([part.counted for part in parts]),
        )

    def cut(self, frames: int) -> "_Frames":
        return _Frames(
            {name: column[:frames] for name, column in self.columns.items()},
            {name: target[:frames] for name, target in self.targets.items()},
            self.is_resetting[:frames],
            self.counted[:frames],
        )


def _answered(perspective: Perspective, codec: ControllerCodec, delay: int) -> _Frames:
    """The frames of a perspective that an input answers: that of frame f is in f + 1 + delay."""
    length = max(0, len(perspective.actions) - 1 - delay)
    buckets = codec.encode(perspective.actions)
    answered = perspective.columns["frame"][:length].astype(np.int64) + 1 + delay
    told = {DELAY: np.full(length, delay, np.int32), RETURN: np.zeros(length, np.int32)}
    is_spoiled = (perspective.columns["absent"] & SPOILED) > 0
    is_sound = ~is_spoiled[:length] & ~is_spoiled[1 + delay : 1 + delay + length]
    return _Frames(
        told | {name: column[:length] for name, column in perspective.columns.items()},
        {name: values[1 + delay : 1 + delay + length] for name, values in buckets.items()},
        np.arange(length) == 0,
        (answered >= GO_FRAME) & is_sound,
    )


def _stack(rows: Sequence[_Frames], multiple: int) -> GameBatch:
    """Rows of one length, the shorter ones filled up with zeros that do not count."""
    steps = -(-max(map(len, rows)) // multiple) * multiple

    def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
        out = np.zeros((len(arrays), steps, *arrays[0].shape[1:]), arrays[0].dtype)
        for place, array in zip(out, arrays, strict=True):
            place[: len(array)] = array
        return out

    return GameBatch(
        {name: stack([row.columns[name] for row in rows]) for name in rows[0].columns},
        {name: stack([row.targets[name] for row in rows]) for name in rows[0].targets},
        stack([row.is_resetting for row in rows]),
        stack([row.counted for row in rows]),
    )

"""What only the whole collection can decide: duplicates, the players' registry, splits, shards.

One pure function over the headers of all files, run once between scanning and parsing. Because it
sees everything, the later stages need neither side inputs nor further barriers, and the graph stays
a line. A header costs about 1 kB, so a million replays fit one worker.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from beam_pipelines.game_records import GameTask, Scanned
from beam_pipelines.settings import DatasetConfig
from exphil_tf.melee.types import GameInfo
from exphil_tf.replays import duplicates, filters, players, splits
from exphil_tf.replays.filters import Exclusion
from exphil_tf.replays.sources import Refused

SHARD_BYTES = 128 << 20
_BYTES_PER_FRAME = 50
"""On disk, both players together; only sets the number of shards."""
_MIN_SHARDS = 4
"""Readers interleave files."""
BATCH_GAMES = 32


class Candidate(NamedTuple):
    """A file that may become a game."""

    scanned: Scanned
    info: GameInfo
    identity: str
    key: str


class Plan(NamedTuple):
    """The work ahead.

    Attributes:
      tasks: games to encode, by key.
      rejects: lines of `rejected.jsonl`.
      registry: of the players.
      input_hash: of the set of files.
      num_files: files looked at.
    """

    tasks: list[GameTask]
    rejects: list[dict[str, Any]]
    registry: players.Registry
    input_hash: str
    num_files: int

    def batches(self) -> list[list[GameTask]]:
        """Tasks in lots that one call of a worker encodes in parallel."""
        return [self.tasks[i : i + BATCH_GAMES] for i in range(0, len(self.tasks), BATCH_GAMES)]


def reject(label: str, sha256: str, reason: str, *, detail: str = "") -> dict[str, Any]:
    """A line of `rejected.jsonl`."""
    return {"file": label, "sha256": sha256, "reason": str(reason), "detail": detail}


def input_hash(contents: Iterable[str]) -> str:
    """Hash of a set of files, whatever their order and place."""
    return hashlib.sha256(
        "\n".join(sorted(contents)).encode("utf-8", "backslashreplace")
    ).hexdigest()


def refused_content(refused: Refused) -> str:
    """What stands for a refused file in the input hash."""
    return f"{refused.reason}:{refused.label}"


def plan(scans: Iterable[Scanned], refused: Iterable[Refused], config: DatasetConfig) -> Plan:
    """Decides what becomes of every file of a collection; independent of the order of `scans`."""
    scans, refused = sorted(scans, key=lambda one: one.source), sorted(refused)
    rejects = [reject(one.label, "", one.reason, detail=one.detail) for one in refused]
    candidates: list[Candidate] = []
    for scanned in scans:
        _admit(scanned, config, candidates=candidates, rejects=rejects)
    candidates = _without_duplicates(candidates, config, rejects)
    candidates = _limit(candidates, config, rejects)
    names = [_pseudonyms(candidate.info, config) for candidate in candidates]
    registry = players.build(players.count(names), max_players=config.records.max_players)
    return Plan(
        _tasks(candidates, registry, config),
        rejects,
        registry,
        input_hash([*(one.content for one in scans), *map(refused_content, refused)]),
        len(scans) + len(refused),
    )


def _admit(
    scanned: Scanned,
    config: DatasetConfig,
    *,
    candidates: list[Candidate],
    rejects: list[dict[str, Any]],
) -> None:
    label = scanned.source.label
    if scanned.info is None:
        rejects.append(reject(label, scanned.sha256, scanned.reason, detail=scanned.detail))
        return
    exclusion = filters.check(scanned.info, config.filters, scanned.num_frames)
    if exclusion is not None:
        rejects.append(reject(label, scanned.sha256, exclusion))
        return
    identity = duplicates.identity(scanned.info, scanned.sha256, key=config.records.pseudonym_key)
    candidates.append(Candidate(scanned, scanned.info, identity, identity))


def _without_duplicates(
    candidates: list[Candidate], config: DatasetConfig, rejects: list[dict[str, Any]]
) -> list[Candidate]:
    """The preferred file of each game; the others are rejected, or kept under keys of their own."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.identity, []).append(candidate)
    kept: list[Candidate] = []
    for identity in sorted(groups):
        best, *others = sorted(groups[identity], key=_preference)
        kept.append(best)
        for number, other in enumerate(others, start=1):
            if config.filters.skip_duplicates:
                detail = f"same game as {best.scanned.source.label}"
                rejects.append(
                    reject(
                        other.scanned.source.label,
                        other.scanned.sha256,
                        Exclusion.DUPLICATE,
                        detail=detail,
                    )
                )
            else:
                kept.append(other._replace(key=f"{identity}-{number}"))
    return kept


def _preference(candidate: Candidate) -> tuple[Any, ...]:
    scanned = candidate.scanned
    ranked = duplicates.preference(
        candidate.info, num_frames=scanned.num_frames, content_sha256=scanned.sha256
    )
    return (ranked, scanned.source)


def _limit(
    candidates: list[Candidate], config: DatasetConfig, rejects: list[dict[str, Any]]
) -> list[Candidate]:
    """The first `max_files` games in the order of their keys, which is that of a hash."""
    ordered = sorted(candidates, key=lambda one: one.key)
    limit = len(ordered) if config.max_files is None else config.max_files
    for one in ordered[limit:]:
        rejects.append(reject(one.scanned.source.label, one.scanned.sha256, "max_files"))
    return ordered[:limit]


def _pseudonyms(info: GameInfo, config: DatasetConfig) -> list[str]:
    key = config.records.pseudonym_key
    return [players.pseudonym(players.identity(player), key) for player in info.players]


def _tasks(
    candidates: list[Candidate], registry: players.Registry, config: DatasetConfig
) -> list[GameTask]:
    split_by_game = splits.assign((one.identity for one in candidates), config.splits)
    counts = _shard_counts(candidates, split_by_game, config)
    placed: Counter[str] = Counter()
    tasks: list[GameTask] = []
    for one in candidates:
        split = str(split_by_game[one.identity])
        first, second = (registry.id_of(name) for name in _pseudonyms(one.info, config))
        shard = placed[split] % counts[split]
        placed[split] += 1
        source, sha256 = one.scanned.source, one.scanned.sha256
        tasks.append(
            GameTask(source, sha256, one.key, split, shard, counts[split], (first, second))
        )
    return tasks


def _shard_counts(
    candidates: list[Candidate], split_by_game: dict[str, splits.Split], config: DatasetConfig
) -> dict[str, int]:
    """Files per split: as configured, or about `SHARD_BYTES` each; at most one a game."""
    frames: Counter[str] = Counter()
    games: Counter[str] = Counter()
    for one in candidates:
        split = str(split_by_game[one.identity])
        frames[split] += max(1, one.scanned.num_frames)
        games[split] += 1
    counts: dict[str, int] = {}
    for split in games:
        wanted = max(_MIN_SHARDS, -(-frames[split] * _BYTES_PER_FRAME // SHARD_BYTES))
        if config.records.num_shards is not None:
            share = frames[split] / max(1, frames[str(splits.Split.TRAIN)])
            wanted = max(1, round(config.records.num_shards * min(1.0, share)))
        counts[split] = min(wanted, games[split])
    return counts

"""What only the whole collection can decide: duplicates, the limit, players, splits, shards.

Two pure functions. `schedule` runs over what all headers say and decides nothing but the order of
the work: a header's claims may be wrong, and a file that turns out to be damaged must not have cost
a sound one its place. `place` runs over all games that were parsed and passed the filters, and
decides. Because it sees everything, the stages behind it need neither side inputs nor further
barriers, and the graph stays a line. Both hold well under 1 kB a file, so a million replays fit one
worker.

A limit (`--max-files`) takes the first games in the order of their identities, which is that of a
hash. So that few of a large collection cost little, its files are worked off in that order by one
worker (on all its cores), which stops when there are enough; files behind that were not looked at.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.preprocessing.game_records import GameTask, ParsedGame, Scanned
from exphil_tf.replays import duplicates, players, splits
from exphil_tf.replays.filters import Exclusion
from exphil_tf.replays.sources import Refused

SHARD_BYTES = 128 << 20
MAX_FILES = "max_files"
"""Reason of files that the limit left out."""
_BYTES_PER_FRAME = 50
"""On disk, both players together; only sets the number of shards."""
_MIN_SHARDS = 4
"""Readers interleave files."""
BATCH_GAMES = 32


class Lot(NamedTuple):
    """Files that one call of a worker parses, in order.

    Attributes:
      tasks: the files.
      limit: number of games after which the rest is left out; None for no limit.
    """

    tasks: list[GameTask]
    limit: int | None = None


class Schedule(NamedTuple):
    """The work ahead.

    Attributes:
      lots: files to parse.
      rejects: lines of `rejected.jsonl` for those that are not.
      input_hash: of the set of files.
      num_files: files looked at.
    """

    lots: list[Lot]
    rejects: list[dict[str, Any]]
    input_hash: str
    num_files: int


class PlacedGame(NamedTuple):
    """A game with all that the collection decides.

    Attributes:
      game: what was parsed.
      key: 32 hex digits or more, unique in the dataset.
      split: train, validation or test.
      shard, num_shards: its place in the split.
      player_ids: registry index of each player.
    """

    game: ParsedGame
    key: str
    split: str
    shard: int
    num_shards: int
    player_ids: tuple[int, int]


class Plan(NamedTuple):
    """What becomes of the parsed games.

    Attributes:
      games: those that are kept, by key.
      rejects: lines of `rejected.jsonl` for the others.
      registry: of the players.
    """

    games: list[PlacedGame]
    rejects: list[dict[str, Any]]
    registry: players.Registry


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


# -- Before parsing --------------------------------------------------------------------------------


def schedule(
    scans: Iterable[Scanned], refused: Iterable[Refused], config: DatasetConfig
) -> Schedule:
    """The order of work; independent of the order of `scans`."""
    scans, refused = list(scans), list(refused)
    rejects = [reject(one.label, "", one.reason, detail=one.detail) for one in refused]
    rejects += [
        reject(one.source.label, one.sha256, one.reason, detail=one.detail)
        for one in scans
        if one.reason
    ]
    tasks = [GameTask(one.source, one.sha256, one.identity) for one in scans if not one.reason]
    contents = [*(one.content for one in scans), *map(refused_content, refused)]
    return Schedule(
        _lots(sorted(tasks, key=_place_in_line), config.max_files),
        sorted(rejects, key=lambda line: line["file"]),
        input_hash(contents),
        len(contents),
    )


def _place_in_line(task: GameTask) -> tuple[Any, ...]:
    """Files of one game stand together, so that a limit never falls between them."""
    return (task.identity, task.sha256, task.source)


def _lots(tasks: list[GameTask], limit: int | None) -> list[Lot]:
    if limit is not None and limit < len(tasks):
        return [Lot(tasks, limit)]
    return [Lot(tasks[i : i + BATCH_GAMES]) for i in range(0, len(tasks), BATCH_GAMES)]


class Enough:
    """Counts the games of a lot, to tell when the limit is reached.

    Args:
      limit: of the lot.
      skip_duplicates: files of one game count once.
    """

    def __init__(self, limit: int | None, *, skip_duplicates: bool) -> None:
        self._limit, self._skip_duplicates = limit, skip_duplicates
        self._games, self._last = 0, ""

    def add(self, identity: str) -> None:
        """Counts an accepted file."""
        self._games += not self._skip_duplicates or identity != self._last
        self._last = identity

    def before(self, task: GameTask) -> bool:
        """Whether there are enough games without this file; those of a game go together."""
        reached = self._limit is not None and self._games >= self._limit
        return reached and task.identity != self._last


# -- After parsing ---------------------------------------------------------------------------------


def place(games: Iterable[ParsedGame], config: DatasetConfig) -> Plan:
    """Decides what becomes of every parsed game; independent of the order of `games`."""
    rejects: list[dict[str, Any]] = []
    kept = _limit(_distinct(games, config, rejects), config, rejects)
    names = [game.players for game, _ in kept]
    registry = players.build(players.count(names), max_players=config.records.max_players)
    return Plan(_placed(kept, registry, config), rejects, registry)


Keyed = tuple[ParsedGame, str]
"""A game and its key."""


def _distinct(
    games: Iterable[ParsedGame], config: DatasetConfig, rejects: list[dict[str, Any]]
) -> list[Keyed]:
    """The best file of each game; the others are rejected, or kept under keys of their own."""
    kept: list[Keyed] = []
    for identity, group in groupby(sorted(games, key=_rank), key=lambda game: game.identity):
        own: list[ParsedGame] = []
        for best, *others in duplicates.by_game(group, lambda game: game.copy):
            own.append(best)
            if config.filters.skip_duplicates:
                rejects += (duplicate(other.file, other.sha256, best.file) for other in others)
            else:
                own += others
        kept += ((game, f"{identity}-{n}" if n else identity) for n, game in enumerate(own))
    return kept


def _rank(game: ParsedGame) -> tuple[Any, ...]:
    return (game.identity, game.copy, game.file)


def duplicate(file: str, sha256: str, best: str) -> dict[str, Any]:
    """The reject of a file that holds the same game as another."""
    return reject(file, sha256, Exclusion.DUPLICATE, detail=f"same game as {best}")


def _limit(games: list[Keyed], config: DatasetConfig, rejects: list[dict[str, Any]]) -> list[Keyed]:
    """The first `max_files` games in the order of their keys, which is that of a hash."""
    ordered = sorted(games, key=lambda one: one[1])
    limit = len(ordered) if config.max_files is None else config.max_files
    rejects += [reject(game.file, game.sha256, MAX_FILES) for game, _ in ordered[limit:]]
    return ordered[:limit]


def _placed(
    games: Sequence[Keyed], registry: players.Registry, config: DatasetConfig
) -> list[PlacedGame]:
    split_by_game = splits.assign((game.identity for game, _ in games), config.splits)
    counts = _shard_counts((game for game, _ in games), split_by_game, config)
    placed: Counter[str] = Counter()
    result: list[PlacedGame] = []
    for game, key in games:
        split = str(split_by_game[game.identity])
        first, second = map(registry.id_of, game.players)
        shard = placed[split] % counts[split]
        placed[split] += 1
        result.append(PlacedGame(game, key, split, shard, counts[split], (first, second)))
    return result


def _shard_counts(
    games: Iterable[ParsedGame], split_by_game: dict[str, splits.Split], config: DatasetConfig
) -> dict[str, int]:
    """Files per split: as configured, or about `SHARD_BYTES` each; at most one a game."""
    frames: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for game in games:
        split = str(split_by_game[game.identity])
        frames[split] += game.frames
        number[split] += 1
    counts: dict[str, int] = {}
    for split in number:
        wanted = max(_MIN_SHARDS, -(-frames[split] * _BYTES_PER_FRAME // SHARD_BYTES))
        if config.records.num_shards is not None:
            share = frames[split] / max(1, frames[str(splits.Split.TRAIN)])
            wanted = max(1, round(config.records.num_shards * min(1.0, share)))
        counts[split] = min(wanted, number[split])
    return counts


def best_copies(
    games: Iterable[dict[str, Any]],
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Fact sheets with `key` and `copy`, one per game, each with the others of its game.

    A file that is excluded gives way to one that is not.
    """

    def rank(game: dict[str, Any]) -> tuple[Any, ...]:
        return (game["key"], bool(game["exclusion"]), game["copy"], game["file"])

    for _, group in groupby(sorted(games, key=rank), key=lambda game: game["key"]):
        for best, *others in duplicates.by_game(group, lambda game: game["copy"]):
            yield best, others

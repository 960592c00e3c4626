"""What a worker tells of a game without storing it: for reports and stick centres. Without Beam."""

from __future__ import annotations

from typing import Any

import numpy as np

from exphil_tf.features.packing import pack_planes
from exphil_tf.melee.enums import character_name, stage_name
from exphil_tf.preprocessing.game_records import EncodeItem, rank_copy, read_game
from exphil_tf.records.stats import tally_game
from exphil_tf.replays import filters, players, quality


def inspect_game(item: EncodeItem) -> dict[str, Any]:
    """Facts of one game for `scan`; runs in an isolated worker.

    Raises:
      ReplayError: if it can't be read.
    """
    replay = read_game(item)
    game = replay.game
    found = quality.assess(game)
    key = item.records.pseudonym_key
    exclusion = filters.select(game, filters.FilterConfig()).exclusion  # by default options
    columns = [game.frames["p.character"][:, player] for player in (0, 1)]
    return {
        "copy": rank_copy(replay, item.task.sha256),
        "frames": len(game.frames),
        "stage": stage_name(game.info.stage),
        "version": ".".join(map(str, game.info.version[:2])),
        "route": str(replay.route),
        "quality": round(found.score, 1),
        "failure": found.failure,
        "exclusion": "" if exclusion is None else str(exclusion),
        "players": [
            {
                "character": character_name(filters.main_character(column)),
                "frames": _frames_by_character(column),
                "player": players.pseudonym(players.identity(player), key),
                "cpu": player.is_cpu,
            }
            for player, column in zip(game.info.players, columns, strict=True)
        ],
    }


def _frames_by_character(column: np.ndarray) -> dict[str, int]:
    ids, counts = np.unique(column, return_counts=True)
    return {character_name(int(one)): int(count) for one, count in zip(ids, counts, strict=True)}


def count_sticks(item: EncodeItem) -> dict[str, Any]:
    """Stick readings of the wanted players of one game; runs in an isolated worker.

    Raises:
      ReplayError: if it can't be read.
    """
    replay = read_game(item)
    selection = filters.select(replay.game, item.filters)
    copy = rank_copy(replay, item.task.sha256)
    if selection.exclusion is not None:
        return {"copy": copy, "exclusion": str(selection.exclusion), "tally": {}}
    tally = tally_game(
        replay.game.frames,
        pack_planes(replay.game.frames),
        perspectives=selection.perspectives,
        stage=replay.game.info.stage,
        route=str(replay.route),
    )
    wanted = ("games", "frames", "perspective_frames", "sticks")
    return {"copy": copy, "exclusion": "", "tally": {name: tally[name] for name in wanted}}

"""Pages of games on which policies differ: one per game and policy, made from the dataset alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exphil_tf.agents.game_judgement import Judgement, judgement_of
from exphil_tf.agents.game_page import game_page
from exphil_tf.evaluation.compared_policy import ComparedPolicy
from exphil_tf.evaluation.episodes import game_key, perspectives_of
from exphil_tf.evaluation.side_by_side import Reading, answers
from exphil_tf.features.packing import unpack
from exphil_tf.foundation import atomic
from exphil_tf.melee.enums import character_name, stage_name
from exphil_tf.melee.types import Game, GameInfo, PlayerInfo
from exphil_tf.records.example import join_rows
from exphil_tf.records.games import split_games
from exphil_tf.records.manifest import Manifest

if TYPE_CHECKING:
    from exphil_tf.evaluation.policy_runners import Runner

FOLDER = "games"


def write_game_pages(
    keys: Sequence[str],
    policies: Sequence[ComparedPolicy],
    *,
    manifest: Manifest,
    folder: Path,
    split: str,
    reading: Reading,
    output: Path,
) -> dict[str, dict[str, str]]:
    """Writes each policy's opinion of some games.

    Players have no names there: a dataset holds none.

    Args:
      keys: of the games (`game_key`).
      policies: whose opinions.
      manifest: of the dataset.
      folder: of the dataset.
      split: that the games are in.
      reading: how games were read when the policies were measured.
      output: folder of the report; pages go into `games/` in it.

    Returns: game → policy → address of its page, from the report's folder.
    """
    runners = {policy.name: policy.make_runner() for policy in policies} if keys else {}
    pages: dict[str, dict[str, str]] = {}
    for key, game in _games(manifest, folder, split, wanted=set(keys)):
        (output / FOLDER).mkdir(parents=True, exist_ok=True)
        for place, policy in enumerate(policies):
            judged = _judged(policy, game, runner=runners[policy.name], reading=reading)
            # The place keeps names apart that differ in letters which do not suit a file.
            plain = re.sub(r"[^A-Za-z0-9._-]+", "-", policy.name)[-60:]
            name = f"{key[:12]}-{place + 1}-{plain}.html"
            page = game_page(game, judged, title=f"{_title(game)} · {policy.name}")
            atomic.write_bytes(output / FOLDER / name, page.encode())
            pages.setdefault(key, {})[policy.name] = f"{FOLDER}/{name}"
    return pages


def _games(
    manifest: Manifest, folder: Path, split: str, *, wanted: set[str]
) -> Iterator[tuple[str, Game]]:
    """The wanted games of a split, as they are stored."""
    left = set(wanted)
    for chunks in split_games(manifest, folder, split) if left else ():
        meta = chunks[0].meta
        key = game_key(meta.key)
        if key in left:
            left.discard(key)
            players = tuple(PlayerInfo(1 + p, c) for p, c in enumerate(meta.characters))
            yield key, Game(GameInfo(meta.stage, players), unpack(join_rows(chunks)))
        if not left:
            return


def _judged(policy: ComparedPolicy, game: Game, *, runner: Runner, reading: Reading) -> Judgement:
    sides, frames = list(perspectives_of([game])), len(game.frames)
    width = sum(policy.codec.sizes.values())
    logits = np.zeros((frames, len(sides), width), np.float32)
    for batch, span, found in answers(policy, sides, runner=runner, reading=reading):
        start = span.start or 0
        part = found[:, : max(0, frames - start)]
        assert batch.num_rows == len(sides)  # of one length, so each in a row of its own
        logits[start : start + part.shape[1]] = part.transpose(1, 0, 2)
    return judgement_of(logits, game, policy.codec, delay=policy.delay)


def _title(game: Game) -> str:
    names: Mapping[int, str] = {p.port: character_name(p.character) for p in game.info.players}
    return f"{' – '.join(names.values())}, {stage_name(game.info.stage).replace('_', ' ')}"

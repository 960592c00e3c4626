"""Which files hold the same game, and which of them to keep.

Both netplay clients save the game they played: other bytes (own name first, own start time), same
game. The *identity* of a game is therefore, in this order: its match id with game number and
tiebreak; for older netplay files its random seed with stage, connect codes and characters; for
games without codes the hash of the file's bytes. Offline games are never matched by seed, because
tools that start a game from a saved state start every one of them with the same seed.

An identity is a claim, so files that share one are copies only if their frames look alike.

The identity also decides the split, so a duplicate can't sit on both sides of it. It stands in
records and lists, so connect codes enter it as pseudonyms: a hash of the bare codes could be
undone by trying them all. With the same secret, every machine finds the same identities and splits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np

from exphil_tf.melee.types import Frames, GameInfo
from exphil_tf.replays import players


def identity(info: GameInfo, content_sha256: str, *, key: str = players.PUBLIC_KEY) -> str:
    """32 hex digits that two files share exactly if they hold the same game.

    Args:
      info: what the file says of the game; the order of its players does not matter.
      content_sha256: hash of the file's bytes, for games that nothing else identifies.
      key: of the pseudonyms (`players.key_of`).
    """
    facts = json.dumps(_facts(info, content_sha256, key))
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _facts(info: GameInfo, content_sha256: str, key: str) -> list[object]:
    if info.match_id and info.game_index:
        return ["match", info.match_id, info.game_index, info.tiebreak]
    if info.seed and info.players and all(player.code for player in info.players):
        names = (players.pseudonym(players.identity(player), key) for player in info.players)
        characters = (player.character for player in info.players)
        who = sorted([name, character] for name, character in zip(names, characters, strict=True))
        return ["seed", info.seed, info.stage, who]
    return ["content", content_sha256]


class Copy(NamedTuple):
    """What a parsed file is worth beside others of the same game; the least one is kept.

    Never what a file says of itself: how it was read, then whether the game's end is in it, then
    how much of it, then how much of that had to be made up; equal ones by hash, so that the choice
    does not depend on names or order.

    Attributes:
      route: rank of the reader that succeeded: 0 for a file that needed no repair.
      is_cut: the recording has no end.
      missing_frames: minus the number of frames, so that more come first.
      spoiled_frames: frames whose values are not all from the file.
      sha256: of the file.
      sketch: see `sketch`.
    """

    route: int
    is_cut: bool
    missing_frames: int
    spoiled_frames: int
    sha256: str
    sketch: tuple[int, ...] = ()


def sketch(frames: Frames) -> tuple[int, ...]:
    """What can be seen of a game once a second for a minute: 16 bits each, in any order of players.

    An identity is what a header claims, and old netplay files claim little: 100 games of two people
    with 16-bit seeds hold a pair of equal claims in one case of fourteen.
    """
    frame = frames["frame"]
    rows = np.flatnonzero((frame >= 0) & (frame % _SKETCH_FRAMES == 0))[:_SKETCH_SAMPLES]
    x, y = (np.rint(16 * frames[name][rows]).astype(np.int64) for name in ("p.x", "p.y"))
    action = frames["p.action"][rows].astype(np.int64)
    mixed = (7919 * action + 104_729 * x + 1_299_709 * y) % 65_521  # primes, nothing more
    return tuple((mixed.sum(1) % (1 << 16)).tolist())


_SKETCH_FRAMES, _SKETCH_SAMPLES = 60, 60


def is_copy(one: Copy, other: Copy) -> bool:
    """Whether two files of one identity hold the same game, as far as both go.

    Half of it must look the same: a damaged copy differs in some places, another game in all.
    """
    seen = list(zip(one.sketch, other.sketch, strict=False))
    return 2 * sum(mine == theirs for mine, theirs in seen) >= len(seen)


_File = TypeVar("_File")


def by_game(files: Iterable[_File], copy_of: Callable[[_File], Copy]) -> list[list[_File]]:
    """Files of one identity, the best first, parted into those that do hold the same game."""
    games: list[list[_File]] = []
    for file in files:
        for game in games:
            if is_copy(copy_of(game[0]), copy_of(file)):
                game.append(file)
                break
        else:
            games.append([file])
    return games

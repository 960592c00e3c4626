"""Which games train, validate and test: decided by the game's identity alone.

A game's *position* is md5(salt + identity) as a fraction in [0, 1): the first `test` of that line
are test games, the next `validation` of it validation games, the rest trains. Both ports of a game
and all copies of it share its identity, hence its split; the order of files, their names and the
number of workers change nothing; and a game keeps its split when a collection grows.

A hash knows nothing of small collections: of 12 games at 10 %, none would validate more than one
time in four. `assign` therefore mends what came out empty, by position again: see there. It needs
all identities, which a pipeline has once it has scanned the files.

Splitting rows or perspectives instead puts the same game on both sides; ranking all games by
position would give exact shares, but would move games whenever one is added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from exphil_tf.foundation.kinds import Kind


class Split(StrEnum):
    """Parts of a dataset."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class SplitConfig:
    """Shares of games, and the salt that draws them."""

    KIND: ClassVar = Kind.SHARE

    val_split: float = 0.1
    """Share of games held out for validation, 0 to 1. With two games or more, at least one."""
    test_split: float = 0.0
    """Share of games held out for the final test. With three games or more, at least one."""
    split_salt: str = "exphil"
    """Change it to draw other validation and test games."""

    def __post_init__(self) -> None:
        """Refuses shares that leave nothing to train on."""
        shares = (self.val_split, self.test_split)
        if not all(0 <= share < 1 for share in shares) or sum(shares) >= 1:
            raise ValueError(
                "split: want val_split and test_split in [0, 1), together below 1. "
                f"Received: val_split={self.val_split}, test_split={self.test_split}"
            )


def position(identity: str, salt: str) -> float:
    """Where a game lies in [0, 1): uniform over identities, the same on every machine."""
    digest = hashlib.md5(f"{salt}{identity}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_of(identity: str, config: SplitConfig) -> Split:
    """The split of one game, whatever else the collection holds (large collections, streaming)."""
    at = position(identity, config.split_salt)
    if at < config.test_split:
        return Split.TEST
    return Split.VALIDATION if at < config.test_split + config.val_split else Split.TRAIN


def assign(identities: Iterable[str], config: SplitConfig) -> dict[str, Split]:
    """The split of every game of a collection: `split_of`, with no wanted split left empty.

    A wanted split without a game takes one from the fullest other, the one whose position is
    lowest (ties: the later split, the smaller identity). Training comes first, then validation,
    then test, and the last game of an earlier one is never taken: one game trains, two train and
    validate. Independent of the order of `identities`; repeats do not count.
    """
    splits = {identity: split_of(identity, config) for identity in sorted(set(identities))}
    by_position = sorted(splits, key=lambda game: (position(game, config.split_salt), game))
    wanted = [Split.TRAIN]
    wanted += [Split.VALIDATION] if config.val_split else []
    wanted += [Split.TEST] if config.test_split else []
    for index, split in enumerate(wanted):
        sizes = {one: sum(other is one for other in splits.values()) for one in wanted}
        spare = {one: sizes[one] - (earlier < index) for earlier, one in enumerate(wanted)}
        donors = [one for one in reversed(wanted) if spare[one] > 0]
        if not sizes[split] and donors:
            donor = max(donors, key=lambda one: sizes[one])
            splits[next(game for game in by_position if splits[game] is donor)] = split
    return splits

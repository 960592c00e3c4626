"""Ages at which smash attacks stand still while they are charged, read off recorded games."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.recorded import Recorded

Row = dict[str, Any]


def charges(games: Iterable[Recorded]) -> Iterator[Row]:
    """One row for each smash attack that somebody charged; those at an angle count as level."""
    ages: dict[tuple[int, int], Counter[float]] = {}
    for game in games:
        for player in (0, 1):
            for key, age in _of_player(game, player):
                ages.setdefault(key, Counter())[age] += 1
    for (character, action), counts in sorted(ages.items()):
        age, count = counts.most_common(1)[0]
        yield {"character": character, "action": action, "age": int(age), "count": count}


def _of_player(game: Recorded, player: int) -> Iterator[tuple[tuple[int, int], float]]:
    action, age = game["action"][:, player].astype(int), game["state_age"][:, player]
    stands = (action[1:] == action[:-1]) & (age[1:] == age[:-1]) & (game["hitlag"][1:, player] == 0)
    stands &= (action[1:] >= act.FSMASH_HIGH) & (action[1:] <= act.DSMASH)
    first = np.flatnonzero(stands & ~np.append(False, stands[:-1]))
    for at in first.tolist():
        level = act.FSMASH if action[at] <= act.FSMASH_LOW else int(action[at])
        yield (int(game["character"][at, player]), level), float(age[at])

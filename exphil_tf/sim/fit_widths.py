"""How wide bodies are to each other.

Two who stand closer than the sum of their half widths push each other by 0.3 units a frame, so each
pair of frames says on which side of a distance it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from exphil_tf.melee.specials import CHARACTERS
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.bodies import HEIGHT, PUSH

Row = dict[str, Any]
_STANDING = (14, 15, 16, 17, 18, 21, 23, 24, 39, 40, 42, 43, 44, 56, 57, 70, 71, 72, 73, 74, 178,
             179, 180)  # fmt: skip
_START, _STEPS, _NEAR, _SAME, _MIN_PAIRS = 3.25, (0.4, 0.2, 0.1, 0.05), 12.0, 0.012, 100


def widths(games: Iterable[Recorded]) -> list[Row]:
    """`body` by character, as rows of `attributes.csv`."""
    return list(_bodies(list(games)))


def _row(
    character: int, name: str, value: float, *, count: int, spread: float, share: float
) -> Row:
    return {"character": character, "attribute": name, "value": round(value, 3), "count": count,
            "spread": round(spread, 3), "share": round(share, 3)}  # fmt: skip


def _bodies(games: list[Recorded]) -> Iterator[Row]:
    one, other, apart, pushed = (np.concatenate(part) for part in
                                 zip(*map(_pairs, games), strict=True))  # fmt: skip
    width = np.full(CHARACTERS, _START)
    for step in _STEPS:
        for who in np.unique(one):
            rows = (one == who) | (other == who)
            trials = width[who] + step * np.arange(-2, 3)
            wrong = []
            for trial in trials:
                width[who] = trial
                near = apart[rows] < width[one[rows]] + width[other[rows]]
                wrong.append(int((near != pushed[rows]).sum()) + 1e-3 * abs(trial - _START))
            width[who] = trials[int(np.argmin(wrong))]
    for who in np.unique(one).tolist():
        rows = (one == who) | (other == who)
        right = (apart[rows] < width[one[rows]] + width[other[rows]]) == pushed[rows]
        if rows.sum() >= _MIN_PAIRS:
            yield _row(who, "body", float(width[who]), count=int(rows.sum()), spread=_STEPS[-1],
                       share=float(right.mean()))  # fmt: skip


def _pairs(game: Recorded) -> tuple[np.ndarray, ...]:
    """Character, the other's, distance, whether pushed: of frames on which only that can be."""
    calm = (game["hitlag"] == 0) & (game["speed_x_attack"] == 0) & (game["on_ground"] != 0)
    calm &= np.isin(game["action"], _STANDING)
    both = calm.all(1)
    both = both[:-1] & both[1:] & (np.abs(np.diff(game["y"], axis=1)[:-1, 0]) < HEIGHT)
    both &= not any(game.held_out)
    move = np.diff(game["x"], axis=0) - game["speed_air_x_self"][1:]
    parts: list[list[np.ndarray]] = [[], [], [], []]
    for player in (0, 1):
        apart = game["x"][:-1, player] - game["x"][:-1, 1 - player]
        along = move[:, player] * np.sign(apart)
        pushed, still = np.abs(along - PUSH) < _SAME, np.abs(along) < _SAME
        here = both & (pushed | still) & (np.abs(apart) < _NEAR) & (np.abs(apart) > 1.5)
        values = (game["character"][:-1, player], game["character"][:-1, 1 - player],
                  np.abs(apart), pushed)  # fmt: skip
        for part, value in zip(parts, values, strict=True):
            part.append(value[here])
    return tuple(np.concatenate(part) for part in parts)

"""How wide bodies are: to each other, and to walls.

Two who stand closer than the sum of their half widths push each other by 0.3 units a frame, so each
pair of frames says on which side of a distance it was. Beside a wall, the distance itself shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from exphil_tf.melee.specials import CHARACTERS
from exphil_tf.sim import actions as act
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.bodies import HEIGHT, PUSH
from exphil_tf.sim.rules.walls import MIDDLE
from exphil_tf.sim.stage_lines import STAGES, stage_table

Row = dict[str, Any]
_STANDING = (14, 15, 16, 17, 18, 21, 23, 24, 39, 40, 42, 43, 44, 56, 57, 70, 71, 72, 73, 74, 178,
             179, 180)  # fmt: skip
_START, _STEPS, _NEAR, _SAME, _MIN_PAIRS = 3.25, (0.4, 0.2, 0.1, 0.05), 12.0, 0.012, 100
_MIN_CONTACTS, _GIRTHS = 8, (0.5, 8.0)


def widths(games: Iterable[Recorded]) -> list[Row]:
    """`body` and `girth` by character, as rows of `attributes.csv`."""
    games = list(games)
    return [*_bodies(games), *_girths(games)]


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


def _girths(games: list[Recorded]) -> Iterator[Row]:
    """Half width in the air: how far from a side those stop whom it stops."""
    found: dict[int, list[np.ndarray]] = {}
    for game in games:
        stage = stage_table()[STAGES.index(game.stage)]  # pyright: ignore[reportArgumentType]
        for player in (0, 1):
            if game.held_out[player] or game.moving:
                continue
            stopped = _stopped(game, player)
            x, y = np.abs(game["x"][1:, player])[stopped], game["y"][1:, player][stopped]
            corners = stage["side"][::-1]
            wall = np.interp(
                np.minimum(y + MIDDLE, stage["side"][0, 1]), corners[:, 1], corners[:, 0]
            )
            for who in np.unique(game["character"][:, player]).tolist():
                mine = game["character"][1:, player][stopped] == who
                found.setdefault(who, []).append((x - wall)[mine & (y < 0) & (y > -40)])
    for who, parts in sorted(found.items()):
        girth = np.concatenate(parts)
        girth = girth[(girth > _GIRTHS[0]) & (girth < _GIRTHS[1])]
        if len(girth) >= _MIN_CONTACTS:
            low, high = np.percentile(girth, (10, 90))
            yield _row(who, "girth", float(np.percentile(girth, 25)), count=len(girth),
                       spread=float(high - low), share=1.0)  # fmt: skip


def _stopped(game: Recorded, player: int) -> np.ndarray:
    """Bool `[frames - 1]`: in the air, and not where its speed leads."""
    calm = (game["hitlag"][:, player] == 0) & (game["on_ground"][:, player] == 0)
    action = game["action"][:, player]
    calm &= (action >= act.JUMP_F) & ((action <= act.AIR_DODGE) | (action >= act.SPECIAL_FIRST))
    calm &= (action < act.CAPTURED_FIRST) | (action > act.CAPTURED_LAST)
    speed = game["speed_air_x_self"][1:, player] + game["speed_x_attack"][1:, player]
    short = np.abs(np.diff(game["x"][:, player]) - speed)
    return calm[:-1] & calm[1:] & (short > 0.05) & (short < 4)

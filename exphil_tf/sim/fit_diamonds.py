"""How wide a body is beside a stage's side, by action and age: `data/diamonds.csv`.

In the game a body is a diamond: its lower corner the feet, its side corners half way up. What
stands beside a side that stops it is exactly as far from it as the animation's frame makes the body
wide, so contacts of one frame of one action agree to a thousandth of a unit; where they lean on a
corner or a slope, they also tell how high the side corners are. Those move with the pose alone,
even where the feet are locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.walls import FLATTEST, SLIM
from exphil_tf.sim.stage_lines import STAGES, stage_table
from exphil_tf.sim.validate import followed

Row = dict[str, Any]
_FIELDS = ("stage", "character", "action", "age", "x", "y", "low", "pushed")
_MIDDLES = np.arange(3.0, 13.01, 0.2)
_WIDTHS, _ROOM, _UNDER = (1.9, 12.0), 0.02, 0.5
_SAME, _MIN_CONTACTS, _MIN_SHARE, _AGAINST = 3e-3, 3, 0.33, 3
_LOWEST, _BESIDE, _PUSHED = -80.0, 16.0, (0.02, 8.0)


def diamonds(games: Iterable[Recorded]) -> Iterator[Row]:
    """Rows of the table: half width, and height of the side corners above the position."""
    yield from rows_of(np.concatenate([contacts(game) for game in games]))


def rows_of(found: np.ndarray) -> Iterator[Row]:
    """Rows of the table, of contacts of any characters and actions."""
    keys = np.stack([found["character"].astype(int), found["action"].astype(int)], 1)
    for key in np.unique(keys, axis=0):
        mine = found[(keys == key).all(1)]
        for row in _of_action(mine[mine["pushed"] != 0], mine[mine["pushed"] == 0]):
            yield {"character": int(key[0]), "action": int(key[1]), **row}


def _of_action(here: np.ndarray, clear: np.ndarray) -> Iterator[Row]:
    """Rows of one action's ages: those that contacts agree on, or that lie beside such."""
    ages = np.unique(here["age"])
    if not len(ages):
        return
    agreed = [_agreed(here[here["age"] == age]) for age in ages]
    # Where contacts leave the height open, it is the one that most of the action's agree on.
    usual = int(np.sum([counts for _, counts in agreed], 0).argmax())
    places = [_nearest(counts, usual) for _, counts in agreed]
    wide = np.array([widths[at] for (widths, _), at in zip(agreed, places, strict=True)])
    for row, age in enumerate(ages.tolist()):
        at = places[row]
        count, of = int(agreed[row][1][at]), int((here["age"] == age).sum())
        sure = count >= _MIN_CONTACTS and count >= _MIN_SHARE * of
        if not count or not (sure or _is_smooth(ages, wide, row)):
            continue
        passed = implied(clear[clear["age"] == age], float(_MIDDLES[at]))
        slim = (passed > _UNDER) & (passed < wide[row] - _ROOM)
        is_wide = _AGAINST * int(slim.sum()) <= count
        yield {"age": int(age), "wide": round(float(wide[row]) if is_wide else SLIM, 4),
               "middle": round(float(_MIDDLES[at]), 2), "count": count,
               "share": round(count / of, 3)}  # fmt: skip


def _nearest(counts: np.ndarray, usual: int) -> int:
    best = np.flatnonzero(counts == counts.max())
    return int(best[np.abs(best - usual).argmin()])


def _is_smooth(ages: np.ndarray, wide: np.ndarray, row: int) -> bool:
    """Whether a width lies on the curve of the ages around it."""
    around = (np.abs(ages - ages[row]) <= _AROUND) & (ages != ages[row]) & (wide > 0)
    if around.sum() < 2:
        return False
    return bool(abs(np.median(wide[around]) - wide[row]) < _ON_CURVE)


_AROUND, _ON_CURVE = 3, 0.4


def contacts(game: Recorded, *, held_out: bool = False) -> np.ndarray:
    """Frames of bodies in the air beside a stage's side, and whether that pushes them outwards."""
    stage = stage_table()[STAGES.index(game.stage)]  # pyright: ignore[reportArgumentType]
    parts = [np.zeros(0, [(name, "f8") for name in _FIELDS])]
    low = followed(game).starts["players"]["feet"]
    for player in (0, 1):
        if game.held_out[player] != held_out or game.moving:
            continue
        x, y, action, age, who = (
            game[name][:, player] for name in ("x", "y", "action", "state_age", "character")
        )
        free = (game["hitlag"][:, player] == 0) & (game["on_ground"][:, player] == 0)
        free &= (action >= act.JUMP_F) & (action < act.ACTIONS)
        free &= (action < act.LEDGE_CATCH) | (action >= act.SPECIAL_FIRST)
        free &= (action < act.FALL) | (action > act.TUMBLE)  # blended with the pose before
        step = game["speed_air_x_self"][1:, player] + game["speed_x_attack"][1:, player]
        push = (np.diff(x) - step) * np.sign(x[:-1])
        rise = game["speed_y_self"][1:, player] + game["speed_y_attack"][1:, player]
        free = free[:-1] & free[1:] & (np.abs(np.diff(y) - rise) < 1e-2)
        pushed = (push > _PUSHED[0]) & (push < _PUSHED[1])
        free &= (pushed | (np.abs(push) < _PUSHED[0])) & (y[1:] > _LOWEST)
        free &= (np.abs(x[1:]) < stage["edge"] + _BESIDE) & (y[1:] < stage["ledge_y"])
        at = np.flatnonzero(free) + 1
        part = np.zeros(len(at), parts[0].dtype)
        part["stage"], part["character"] = STAGES.index(game.stage), who[at]  # pyright: ignore[reportArgumentType]
        part["action"], part["age"] = action[at], np.round(age[at])
        part["x"], part["y"] = np.abs(x[at]), y[at]
        part["low"], part["pushed"] = low[at, player], pushed[at - 1]
        parts.append(part)
    return np.concatenate(parts)


def _agreed(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `_MIDDLES`, the half width that most contacts agree on, and how many they are."""
    widths, counts = np.zeros(len(_MIDDLES)), np.zeros(len(_MIDDLES), np.int64)
    for row, middle in enumerate(_MIDDLES):
        wide = np.sort(implied(found, middle))
        wide = wide[(wide > _WIDTHS[0]) & (wide < _WIDTHS[1])]
        if len(wide):
            last = np.searchsorted(wide, wide + _SAME, side="right")
            agree = last - np.arange(len(wide))
            at = int(agree.argmax())
            widths[row], counts[row] = float(np.median(wide[at : last[at]])), int(agree[at])
    return widths, counts


def implied(found: np.ndarray, middle: float) -> np.ndarray:
    """The half width that each contact shows, if the side corners are so high; else infinite."""
    wide = np.full(len(found), np.inf)
    for row in np.unique(found["stage"]).astype(int).tolist():
        here = found["stage"] == row
        wide[here] = _implied(found[here], middle, stage_table()[row]["side"])
    return wide


def _implied(found: np.ndarray, middle: float, side: np.ndarray) -> np.ndarray:
    wide = np.full(len(found), np.inf)
    low, tall = found["low"], np.maximum(middle - found["low"], FLATTEST)
    up = side[:, 1] - (found["y"] + low)[:, None]  # of the stage's corners above the feet
    share = 1 - np.abs(up - tall[:, None]) / tall[:, None]
    for at, (first, second) in enumerate(zip(side[:-1], side[1:], strict=True)):
        (x0, y0), (x1, y1) = first, second
        if y0 == y1 or abs(x1 - x0) > abs(y1 - y0):
            continue  # an underside
        height = found["y"] + low + tall
        along = (y0 - height) / (y0 - y1)
        on = (along >= 0) & (along <= 1)
        wide = np.where(on, np.minimum(wide, found["x"] - (x0 + (x1 - x0) * along)), wide)
        for corner in (at, at + 1):
            leans = share[:, corner] > 1e-3
            reach = (found["x"] - side[corner, 0]) / np.where(leans, share[:, corner], 1.0)
            wide = np.where(leans, np.minimum(wide, reach), wide)
    return wide

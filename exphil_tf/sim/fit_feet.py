"""Height of the feet above the position in the air, by action and age: `data/feet.csv`.

A landing shows that the feet were above the line on the frame before and would have been below it
on its own: two bounds, at two ages. The curve is a smooth one that breaks them least, and then
moved, age by age, to where most landings come on their frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.sequences import Sequences
from exphil_tf.sim.stage_lines import GAP
from exphil_tf.sim.tables import FEET_AGES, FEET_BINS

Row = dict[str, Any]
LOCKED_FRAMES = 10
_MIN_LANDINGS, _LONGEST_WAY, _DEEPEST = 5, 8.0, -4.0
_ROUNDS, _FAR_OFF = 40, 1.5
_SMOOTH, _FLAT = 0.1, 0.01
"""Weights of the curve's bends and of its slopes against a landing's unit of error, squared."""


class Landings(NamedTuple):
    """Bounds that landings set `[landings]`: the feet were above `low` before, below `high` now."""

    age_before: np.ndarray
    age: np.ndarray
    low: np.ndarray
    high: np.ndarray


def feet(character: int, seq: Sequences) -> Iterator[Row]:
    """Rows of the table: the middle height (`ages` -1), and that of each few ages."""
    actions, found = _landings(seq)
    for action in np.unique(actions).tolist():
        here = actions == action
        if action >= act.ACTIONS or here.sum() < _MIN_LANDINGS:
            continue
        mine = Landings(*(column[here] for column in found))
        curve, fits = fitted(mine)
        counts = np.bincount(_bins(mine.age_before), minlength=FEET_BINS)
        shown = np.flatnonzero(counts)
        for ages in (-1, *range(int(shown[-1]) + 1)):
            height = float(np.median(curve[shown])) if ages < 0 else float(curve[ages])
            yield {"character": character, "action": action, "ages": ages,
                   "height": round(height, 3), "fits": round(fits, 3),
                   "count": int(here.sum() if ages < 0 else counts[ages])}  # fmt: skip


def _landings(seq: Sequences) -> tuple[np.ndarray, Landings]:
    """Actions of all landings whose feet are not locked, and what they show."""
    lands = seq.free & (seq.before("on_ground") == 0) & (seq.after("on_ground") != 0)
    lands &= (_air_frames(seq)[:-1] >= LOCKED_FRAMES) & (seq.after("action") != act.LEDGE_CATCH)
    low = seq.after("y") - GAP - seq.before("y")
    high = low - seq.after("speed_y_self")
    lands &= (high > low) & (low > _DEEPEST) & (high - low < _LONGEST_WAY)
    age = seq.before("state_age")[lands]
    return seq.before("action")[lands], Landings(age, age + 1, low[lands], high[lands])


def _air_frames(seq: Sequences) -> np.ndarray:
    """Frames since the ground was left or the last jump in the air, `[rows]`."""
    grounded = seq.columns["on_ground"] != 0
    action = seq.columns["action"]
    jumps = np.append(False, (action[1:] != action[:-1]) & np.isin(action[1:], _AIR_JUMPS))
    rows = np.arange(len(grounded))
    starts = grounded | jumps | np.append(True, ~seq.follows[:-1])
    return rows - np.maximum.accumulate(np.where(starts, rows, 0))


_AIR_JUMPS = (act.AIR_JUMP_F, act.AIR_JUMP_B)


def _bins(age: np.ndarray) -> np.ndarray:
    return np.clip(age.astype(int) // FEET_AGES, 0, FEET_BINS - 1)


def _weights(age: np.ndarray) -> np.ndarray:
    """float64 `[ages, FEET_BINS]`: the share of each bin in the height at an age."""
    at = np.clip((age + 0.5) / FEET_AGES - 0.5, 0, FEET_BINS - 1.001)
    first, rows = at.astype(int), np.arange(len(at))
    found = np.zeros((len(at), FEET_BINS))
    found[rows, first], found[rows, first + 1] = 1 - (at - first), at - first
    return found


def fitted(found: Landings) -> tuple[np.ndarray, float]:
    """Heights `[FEET_BINS]`, and the share of landings that they make on the frame."""
    above, below = _weights(found.age_before), _weights(found.age)
    bends = np.diff(np.eye(FEET_BINS), 2, axis=0) * np.sqrt(_SMOOTH)
    slopes = np.diff(np.eye(FEET_BINS), axis=0) * np.sqrt(_FLAT)
    rest = bends.T @ bends + slopes.T @ slopes
    curve = np.full(FEET_BINS, max(0.0, float(np.median((found.low + found.high) / 2))))
    for step in range(_ROUNDS):
        short, far = found.low - above @ curve, below @ curve - found.high
        # Once the curve has settled, what is far off it (a slope, a push) has no say.
        least = _FAR_OFF if step > _ROUNDS // 2 else np.inf
        up, down = (short > -_MARGIN) & (short < least), (far > -_MARGIN) & (far < least)
        one, other = above[up], below[down]
        left = one.T @ one + other.T @ other + rest + 1e-6 * np.eye(FEET_BINS)
        right = one.T @ (found.low[up] + _MARGIN) + other.T @ (found.high[down] - _MARGIN)
        curve = np.maximum(0.5 * curve + 0.5 * np.linalg.solve(left, right), 0.0)
    return _moved(curve, above, below, found=found)


_MARGIN = 0.02
"""By how much bounds are kept, if they can be."""
_MOVES = np.array([-1.6, -0.8, -0.4, -0.2, -0.1, 0.1, 0.2, 0.4, 0.8, 1.6])
_PASSES, _BEND_COSTS, _MOVED_FROM = 4, 0.05, 60


def _moved(
    curve: np.ndarray, above: np.ndarray, below: np.ndarray, *, found: Landings
) -> tuple[np.ndarray, float]:
    """The curve with each height moved while that makes more landings."""

    def made(heights: np.ndarray) -> float:
        right = (above @ heights > found.low) & (below @ heights <= found.high)
        return float(right.sum() - _BEND_COSTS * np.abs(np.diff(heights, 2)).sum())

    level = np.full(FEET_BINS, float(np.median((found.low + found.high) / 2)))
    curve = max((curve, np.maximum(level, 0.0)), key=made)
    for _ in range(_PASSES if len(found.low) >= _MOVED_FROM else 0):
        for at in range(FEET_BINS):
            trials = [curve]
            for move in _MOVES:
                trial = curve.copy()
                trial[at] = max(0.0, trial[at] + move)
                trials.append(trial)
            curve = max(trials, key=made)
    right = (above @ curve > found.low) & (below @ curve <= found.high)
    return curve, float(right.mean())

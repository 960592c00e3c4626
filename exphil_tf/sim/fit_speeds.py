"""Movement that belongs to an animation, frame by frame, where recorded games show it best.

libmelee's table of movement was measured with another player near (a push of 0.3 is in some of it)
and lacks actions. Here the speed that most recordings share on a frame is kept, where it foretells
other recordings better than friction, libmelee's table or a rule of flight does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import attribute_table
from exphil_tf.sim.estimates import commonest
from exphil_tf.sim.motion_kinds import KINDS_X, KINDS_Y, in_two_parts
from exphil_tf.sim.sequences import Sequences
from exphil_tf.sim.tables import frame_data

Row = dict[str, Any]
_MIN_COUNT, _SAME, _BETTER, _MOST_AGES = 20, 2e-3, 0.03, 120
_LEAST_SHARE = 0.5
_OTHERS = ((act.NAIR, 91), (178, 185), (191, 193), (202, 211), (223, 232), (239, 253))
"""Actions whose movement is not an animation's: aerials, damage, shields, falls, captures."""


class _Table(NamedTuple):
    values: list[float]
    share: float


def speeds(character: int, seq: Sequences) -> Iterator[Row]:
    """Rows of `speeds.csv`: forward and upward movement by age from 1 on; nothing: friction."""
    present = np.unique(seq.columns["action"])
    for action in present[(present >= act.JAB_1) & (present < act.ACTIONS)].tolist():
        if any(first <= action <= last for first, last in _OTHERS):
            continue
        stays = seq.follows[:-1] & (seq.after("action") == action)
        goes_on = seq.before("action") == action
        stays &= np.where(goes_on, np.abs(seq.change("state_age") - 1) < 0.01,
                          seq.after("state_age") == 1)  # fmt: skip
        stays &= (seq.before("hitlag") == 0) & (seq.after("hitlag") == 0)
        if act.LEDGE_GETUP_SLOW <= action <= act.LEDGE_JUMP:
            yield from _climb(character, seq, stays, action=action)
            continue
        free = stays & seq.free
        feet = seq.after("on_ground") != 0
        stands = seq.before("on_ground") != 0
        yield from _ground(character, seq, free & feet & stands, action=action)
        yield from _air(character, seq, free & ~feet & ~stands, action=action)


def _row(character: int, action: int, where: str, *, ahead: list[float], up: list[float]) -> Row:
    text = {name: " ".join(f"{v:g}" for v in values) for name, values in
            (("ahead", ahead), ("up", up))}  # fmt: skip
    return {"character": character, "action": action, "where": where, **text}


def _ages(seq: Sequences, chosen: np.ndarray) -> np.ndarray:
    return np.round(seq.after("state_age")[chosen]).astype(int)


def _table(values: np.ndarray, ages: np.ndarray) -> _Table:
    """The commonest value of each age, and the share of frames that the other half foretells."""
    half = np.arange(len(values)) % 2 == 0
    right = 0
    found: list[float] = []
    for age in range(1, min(int(ages.max(initial=0)), _MOST_AGES) + 1):
        here = ages == age
        whole = commonest(values[here])
        if whole.count < 3 and age == 1:
            found.append(0.0)
            continue
        if whole.count < 3 or whole.share < _LEAST_SHARE:
            break
        for side in (half, ~half):
            there = commonest(values[here & ~side])
            right += int((np.abs(values[here & side] - there.value) < _SAME).sum())
        found.append(round(whole.value, 4))
    return _Table(found, right / max(1, len(values)))


def _ground(character: int, seq: Sequences, chosen: np.ndarray, *, action: int) -> Iterator[Row]:
    before = seq.before("speed_ground_x_self")[chosen]
    after, facing = seq.after("speed_ground_x_self")[chosen], seq.after("facing")[chosen]
    moves = (np.abs(before) > 1e-3) | (np.abs(after) > 1e-3)
    if moves.sum() < _MIN_COUNT:
        return
    a, ages = attribute_table()[character], _ages(seq, chosen)
    slides = np.zeros(len(before), bool)
    for times in (1, 2):
        left = np.sign(before) * np.maximum(np.abs(before) - times * a["friction"], 0)
        slides |= np.abs(left - after) < _SAME
    friction = float(slides[moves].mean())
    given = _given(character, action, ages)
    theirs = float((np.abs(given - after * facing)[moves] < _SAME).mean())
    table = _table((after * facing)[moves], ages[moves])
    if table.share > max(friction, theirs) + _BETTER:
        full = _table(after * facing, ages)
        yield _row(character, action, "ground", ahead=full.values, up=[])
    elif friction > theirs + _BETTER and np.isfinite(given).any():
        yield _row(character, action, "ground", ahead=[], up=[])


def _given(character: int, action: int, ages: np.ndarray) -> np.ndarray:
    """Forward movement of libmelee's table, NaN where it has none."""
    length, _, path, steps, turns = frame_data()
    at = ages - 1
    if path[character, action] < 0:
        return np.full(len(ages), np.nan)
    inside = (at >= 0) & (at < length[character, action])
    found = np.where(inside, steps[path[character, action] + np.clip(at, 0, None) * inside, 0], 0.0)
    turn = turns[character, action]
    backwards = action in (act.ROLL_B, act.TECH_B, act.DOWN_ROLL_B_UP, act.DOWN_ROLL_B_DOWN)
    found = -found if backwards else found
    return np.where((turn > 0) & (ages >= turn), -found, found)


def _air(character: int, seq: Sequences, chosen: np.ndarray, *, action: int) -> Iterator[Row]:
    if chosen.sum() < _MIN_COUNT:
        return
    a, ages = attribute_table()[character], _ages(seq, chosen)
    most = len(KINDS_X) if action >= act.SPECIAL_FIRST else 1
    ahead = _table((seq.after("speed_air_x_self") * seq.after("facing"))[chosen], ages)
    up = _table(seq.after("speed_y_self")[chosen], ages)
    sides = []
    for table, kinds in ((ahead, KINDS_X[:most]), (up, KINDS_Y[:most])):
        rule = in_two_parts(kinds, seq, chosen, a=a)
        sides.append(table.values if table.share > rule.fits + _BETTER else [])
    if sides[0] or sides[1]:
        yield _row(character, action, "air", ahead=sides[0], up=sides[1])


def _climb(character: int, seq: Sequences, chosen: np.ndarray, *, action: int) -> Iterator[Row]:
    """From a ledge onto the stage: places, as nothing has a speed there."""
    hangs = chosen & (seq.before("on_ground") == 0) & (seq.after("on_ground") == 0)
    if hangs.sum() < _MIN_COUNT:
        return
    ages = _ages(seq, hangs)
    ahead = _table((seq.change("x") * seq.after("facing"))[hangs], ages)
    up = _table(seq.change("y")[hangs], ages)
    if ahead.share > _LEAST_SHARE and up.share > _LEAST_SHARE:
        yield _row(character, action, "ledge", ahead=ahead.values, up=up.values)

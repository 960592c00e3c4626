"""Ways in which special moves fly, each a rule with one constant: candidates for a fit.

The rules themselves are `exphil_tf.sim.rules.motion`'s; here they are asked of many frames at once,
which of them foretells the recorded speeds best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.sim.estimates import commonest
from exphil_tf.sim.rules.controls import JUMP
from exphil_tf.sim.sequences import Sequences

_Scored = tuple[float, np.ndarray]


def approach(speed: np.ndarray, target: np.ndarray, *, gain: Any, loss: Any) -> np.ndarray:
    """`exphil_tf.sim.rules.motion.approach`, of arrays."""
    side = np.where(target != 0, np.sign(target), np.sign(speed))
    along, goal = speed * side, np.abs(target)
    return side * np.where(along > goal, np.maximum(goal, along - loss),
                           np.minimum(goal, along + gain))  # fmt: skip


def _drift(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    stick = seq.after("main_x")[air]
    gain = np.abs(stick) * a["drift_stick"] + a["drift_base"]
    made = approach(seq.before("speed_air_x_self")[air], stick * a["drift_max"], gain=gain,
                    loss=a["air_friction"])  # fmt: skip
    return 0.0, np.abs(made - seq.after("speed_air_x_self")[air])


def _slow(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    before, after = seq.before("speed_air_x_self")[air], seq.after("speed_air_x_self")[air]
    loss = np.abs(before) - np.abs(after)
    found = commonest(loss[loss > 1e-4])
    value = found.value if found.count else 0.0
    return value, np.abs(approach(before, np.zeros_like(before), gain=0.0, loss=value) - after)


def _keep_x(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    return 0.0, np.abs(seq.change("speed_air_x_self")[air])


def _set_x(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    along = (seq.after("speed_air_x_self") * seq.after("facing"))[air]
    value = commonest(along).value
    return value, np.abs(along - value)


def _scale_x(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    before, after = seq.before("speed_air_x_self")[air], seq.after("speed_air_x_self")[air]
    value = commonest(after / np.where(before == 0, np.nan, before)).value
    value = value if 0 <= value <= 1 else 0.0
    return value, np.abs(before * value - after)


def _fall(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    before, after = seq.before("speed_y_self")[air], seq.after("speed_y_self")[air]
    made = np.maximum(before - a["gravity"], -a["terminal"])
    fast = after == -a["fast_fall"]
    return 0.0, np.where(fast, 0.0, np.abs(made - after))


def _sink(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    loss = -seq.change("speed_y_self")[air]
    found = commonest(loss[np.abs(loss) > 1e-4])
    value = found.value if found.count and found.value > 0 else 0.0
    made = np.maximum(seq.before("speed_y_self")[air] - value, -a["terminal"])
    return value, np.abs(made - seq.after("speed_y_self")[air])


def _keep_y(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    return 0.0, np.abs(seq.change("speed_y_self")[air])


def _set_y(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    value = commonest(seq.after("speed_y_self")[air]).value
    return value, np.abs(seq.after("speed_y_self")[air] - value)


def _scale_y(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    before, after = seq.before("speed_y_self")[air], seq.after("speed_y_self")[air]
    value = commonest(after / np.where(before == 0, np.nan, before)).value
    value = value if 0 <= value <= 1 else 0.0
    return value, np.abs(before * value - after)


def _size(seq: Sequences, air: np.ndarray) -> tuple[np.ndarray, float]:
    before = np.hypot(seq.before("speed_air_x_self"), seq.before("speed_y_self"))[air]
    after = np.hypot(seq.after("speed_air_x_self"), seq.after("speed_y_self"))[air]
    found = commonest((before - after)[before - after > 1e-4])
    value = found.value if found.count else 0.0
    return np.maximum(0, before - value) / np.where(before == 0, 1, before), value


def _brake_x(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    left, value = _size(seq, air)
    speed = "speed_air_x_self"
    return value, np.abs(seq.before(speed)[air] * left - seq.after(speed)[air])


def _brake_y(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    left, value = _size(seq, air)
    speed = "speed_y_self"
    return value, np.abs(seq.before(speed)[air] * left - seq.after(speed)[air])


def _never(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    return 0.0, np.full(int(air.sum()), np.inf)


def _stick(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    stick, before = seq.after("main_x")[air], seq.before("speed_air_x_self")[air]
    after = seq.after("speed_air_x_self")[air]
    with np.errstate(divide="ignore", invalid="ignore"):
        steady = commonest((after / (stick * a["drift_max"]))[(after == before) & (stick != 0)])
        gains = commonest(((after - before) / (stick * a["drift_stick"]))[np.abs(stick) > 0.3])
    best = (0.0, np.full(len(after), np.inf))
    for found in (steady, gains):
        if found.count and 0 < found.value <= 1:
            gain = np.abs(stick) * a["drift_stick"] * found.value
            made = approach(before, stick * a["drift_max"] * found.value, gain=gain,
                            loss=a["air_friction"])  # fmt: skip
            wrong = np.abs(made - after)
            if (wrong < _SAME).sum() > (best[1] < _SAME).sum():
                best = found.value, wrong
    return best


def _float(seq: Sequences, air: np.ndarray, a: Any) -> _Scored:
    held = (seq.after("buttons")[air] & _JUMP_BUTTONS) != 0
    held |= seq.after("main_y")[air] >= JUMP
    hangs = held & (seq.before("speed_y_self")[air] == 0)
    return 0.0, np.where(hangs, np.abs(seq.after("speed_y_self")[air]), _fall(seq, air, a)[1])


_SAME, _JUMP_BUTTONS = 2e-3, 12


class Flight(NamedTuple):
    """A kind with its constant up to an age, and another one from there on."""

    kind: int
    value: float
    since: int
    then: int
    more: float
    fits: float


def in_two_parts(kinds: Sequence[Any], seq: Sequences, air: np.ndarray, *, a: Any) -> Flight:
    """The flight that foretells most frames; one part where a second one adds little."""
    found = [kind(seq, air, a) for kind in kinds]
    age = np.round(seq.after("state_age")[air]).astype(int)
    last = int(np.clip(age.max(initial=0), 0, _MOST_AGES))
    right = np.array([np.bincount(np.clip(age, 0, last), wrong < _SAME, last + 1)
                      for _, wrong in found])  # fmt: skip
    total = right.sum(1) / max(1, len(age))
    # The drift and the fall of everything else win where others are hardly better.
    one = int(np.argmax(total + np.where(np.arange(len(kinds)) == 0, 0.02, 0.0)))
    best = Flight(one, found[one][0], 0, one, found[one][0], float(total[one]))
    before = np.cumsum(right, 1) - right
    after = right.sum(1, keepdims=True) - before
    for first in range(len(kinds)):
        both = (before[first] + after) / max(1, len(age))
        then, since = np.unravel_index(int(np.argmax(both)), both.shape)
        if both[then, since] > best.fits + (0.03 if best.since == 0 else 0.0):
            best = Flight(first, found[first][0], int(since), int(then), found[then][0],
                          float(both[then, since]))  # fmt: skip
    return best


_MOST_AGES = 200
KINDS_X = (_drift, _slow, _keep_x, _set_x, _scale_x, _brake_x, _never, _stick)
"""Drift by the stick; friction of its own; the same speed; a set speed forwards; a share of it;
braking along the flight; (6 is a table); drift by a share of the stick."""
KINDS_Y = (_fall, _sink, _keep_y, _set_y, _scale_y, _brake_y, _never, _float)
"""Gravity and fast fall; gravity of its own; the same speed; a set speed; a share of it; braking
along the flight; (6 is a table); a float for as long as a jump is held."""

"""What special moves make of the speed they begin with, and what they leave behind.

On its first frame in the air a special move keeps a share of the drift and starts at a vertical
speed of its own, or keeps falling; after it, a special fall has a share of the drift and a landing
its own lag.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import attribute_table
from exphil_tf.sim.estimates import commonest
from exphil_tf.sim.sequences import Sequences

Row = dict[str, Any]
_SHARES = (0.0, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9)
_MIN_COUNT, _SAME, _BETTER, _SHARE = 5, 2e-3, 0.15, 0.6
_LANDING_AGES = 30.1


def entry(character: int, seq: Sequences, action: int) -> Row:
    """`keeps_x` (1 where the speed goes on) and `starts_y` (NaN where gravity goes on)."""
    row: Row = {"keeps_x": 1.0, "starts_y": float("nan")}
    begins = seq.free & (seq.before("action") != action) & (seq.after("action") == action)
    begins &= (seq.before("on_ground") == 0) & (seq.after("on_ground") == 0)
    if begins.sum() < _MIN_COUNT:
        return row
    a = attribute_table()[character]
    first = commonest(seq.after("speed_y_self")[begins])
    fell = np.maximum(seq.before("speed_y_self") - a["gravity"], -a["terminal"])[begins]
    falls = (np.abs(seq.after("speed_y_self")[begins] - fell) < _SAME).mean()
    if first.share >= _SHARE and first.share > falls + _BETTER:
        row["starts_y"] = round(first.value, 5)
    moves = begins & (np.abs(seq.before("speed_air_x_self")) > 0.1)
    if moves.sum() >= _MIN_COUNT:
        row["keeps_x"] = _kept(seq, moves, a)
    return row


def _kept(seq: Sequences, moves: np.ndarray, a: Any) -> float:
    """The share from which air friction of some strength leads to most of the speeds after."""
    before = np.abs(seq.before("speed_air_x_self")[moves])
    after = np.abs(seq.after("speed_air_x_self")[moves])
    fits = {}
    for share in (1.0, *_SHARES):
        loss = commonest(share * before - after)
        fits[share] = loss.share if -0.01 <= loss.value < 0.2 else 0.0
    best = max(fits, key=lambda share: fits[share])
    is_sure = fits[best] >= _SHARE and fits[best] > fits[1.0] + _BETTER
    return round(best, 4) if is_sure else 1.0


def aftermath(character: int, seq: Sequences, action: int) -> Row:
    """`lag` of its landing, `drift`, the share of its special fall, `bottom`, that fall's speed.

    0 where unknown.
    """
    before, after = seq.before("action"), seq.after("action")
    came = _origin(seq)[:-1] == action
    lands = seq.follows[:-1] & (after == act.LANDING_SPECIAL)
    lands &= ((before == act.SPECIAL_FALL) & came) | (before == action)
    lands = lands[:-1] & (seq.columns["action"][2:] == act.LANDING_SPECIAL)
    rate = (seq.columns["state_age"][2:] - seq.after("state_age")[:-1])[lands]
    lag = commonest(_LANDING_AGES / rate[rate > 0])
    a = attribute_table()[character]
    steady = seq.free & came & (before == act.SPECIAL_FALL) & (after == act.SPECIAL_FALL)
    steady &= (np.abs(seq.after("main_x")) >= 0.95) & (seq.change("speed_air_x_self") == 0)
    share = commonest(np.abs(seq.after("speed_air_x_self")[steady]) / a["drift_max"])
    known = share.count >= _MIN_COUNT and 0 < share.value < 0.94
    falls = seq.free & came & (before == act.SPECIAL_FALL) & (after == act.SPECIAL_FALL)
    falls &= seq.change("speed_y_self") == 0
    bottom = commonest(-seq.after("speed_y_self")[falls])
    return {
        "lag": round(lag.value) if lag.count else 0,
        "drift": round(share.value, 3) if known else 1.0,
        "bottom": round(bottom.value, 3) if bottom.count >= _MIN_COUNT else 0.0,
    }


def _origin(seq: Sequences) -> np.ndarray:
    """The action before the special fall that each row is in, `[rows]`; else its own."""
    actions = seq.columns["action"]
    falls = actions == act.SPECIAL_FALL
    rows = np.maximum.accumulate(np.where(falls, 0, np.arange(len(actions))))
    return actions[rows]

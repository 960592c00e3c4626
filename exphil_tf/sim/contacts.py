"""Where attacks meet bodies, in recorded games: frames on which one could hit, and whether it did.

The geometry is that of `exphil_tf.sim.rules.hits`, for many frames at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.hit_events import begins
from exphil_tf.sim.hit_tables import SLOTS, hit_tables
from exphil_tf.sim.recorded import Recorded

CONTACT = np.dtype(
    [
        ("attacker", "i1"), ("victim", "i1"), ("action", "i2"), ("frame", "i2"), ("pose", "i1"),
        ("dx", "f4"), ("dy", "f4"), ("face", "f4"), ("hit", "i1"), ("damage", "f4"), ("held_out", "i1"),
        ("at", "i4"), ("row", "i4"),
    ]
)  # fmt: skip
"""A frame: who attacks whom, framedata's frame, the victim from the attacker (forwards, up),
and whether it faces the same way."""


def contacts(games: Iterable[Recorded]) -> np.ndarray:
    """`CONTACT` rows: frames with a hitbox out that has not hit yet, nobody invulnerable."""
    parts = [_of_attacker(game, attacker) for game in games for attacker in (0, 1)]
    return np.concatenate(parts) if parts else np.zeros(0, CONTACT)


def _of_attacker(game: Recorded, a: int) -> np.ndarray:
    tables, v = hit_tables(), 1 - a
    action = game["action"][:, a].astype(int)
    who = game["character"][:, a].astype(int)
    known = np.minimum(action, act.ACTIONS - 1)
    frame = np.round(game["state_age"][:, a]).astype(int) + tables["box_shift"][who, known]
    first, last = tables["box_first"][who, known], tables["box_last"][who, known]
    active = (action < act.ACTIONS) & (tables["box_row"][who, known] >= 0)
    active &= (frame >= first) & (frame <= last)
    rows = np.where(active, tables["box_row"][who, known] + frame - first, 0)
    window = np.where(active, tables["boxes"]["window"][rows], 0)
    hit = np.zeros(len(action), bool)
    hit[begins(game, v)] = True
    fresh = _fresh(action, window, game["state_age"][:, a], touched=game["hitlag"][:, a] > 0)
    dodges = np.append(False, game["invulnerable"][1:, v] != 0)
    guards = (game["action"][:, v] >= act.GUARD_ON) & (game["action"][:, v] <= act.GUARD_REFLECT)
    may = (window > 0) & fresh & ~dodges & ~guards & ((game["hitlag"][:, a] == 0) | hit)
    may &= (game["action"][:, v] > act.REBIRTH_WAIT) & np.append(False, ~hit[:-1])
    may[0] = False
    at = np.flatnonzero(may)
    found = np.zeros(len(at), CONTACT)
    side = np.where(game["facing"][at, a], 1, -1)
    found["attacker"], found["victim"] = who[at], game["character"][at, v]
    found["action"], found["frame"], found["row"], found["at"] = action[at], frame[at], rows[at], at
    before = game["action"][at - 1, v].astype(int)
    pose = np.minimum(np.where(hit[at], before, game["action"][at, v]), act.ACTIONS - 1)
    grounded = np.where(hit[at], game["on_ground"][at - 1, v], game["on_ground"][at, v])
    found["pose"] = tables["pose"][grounded.astype(int), pose]
    found["dx"] = (game["x"][at, v] - game["x"][at, a]) * side
    found["dy"] = game["y"][at, v] - game["y"][at, a]
    found["face"] = np.where(game["facing"][at - 1, v], 1, -1) * side
    found["hit"], found["held_out"] = hit[at], game.held_out[a]
    found["damage"] = (game["percent"][at, v] - game["percent"][at - 1, v]) * hit[at]
    return found


def _fresh(
    action: np.ndarray, window: np.ndarray, age: np.ndarray, *, touched: np.ndarray
) -> np.ndarray:
    """Frames whose window has touched nothing before, bool `[frames]`."""
    change = (action[1:] != action[:-1]) | (age[1:] < age[:-1]) | (window[1:] != window[:-1])
    starts = np.append(True, change)
    index = np.arange(len(action))
    start = np.maximum.accumulate(np.where(starts, index, 0))
    counts = np.cumsum(touched)
    before = np.append(0, counts[:-1])  # touched frames before each
    return before - before[start] == 0


def gaps(rows: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Distance `[rows, SLOTS]` of each hitbox from a body, negative where they meet; inf if none.

    Args:
      rows: `CONTACT`.
      body: `BODY` record or rows.
    """
    boxes = hit_tables()["boxes"][rows["row"]]
    low, high, forwards, radius = (
        np.broadcast_to(body[name], len(rows))[:, None] for name in ("low", "high", "x", "radius")
    )
    x = boxes["x"] - rows["dx"][:, None] - forwards * rows["face"][:, None]
    y = boxes["y"] - rows["dy"][:, None]
    up = y - np.clip(y, low, np.maximum(low, high))
    apart = np.hypot(x, up) - boxes["size"] - radius
    return np.where(boxes["kind"] >= 0, apart, np.inf)


__all__ = ["CONTACT", "SLOTS", "contacts", "gaps"]

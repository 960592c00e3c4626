"""Where attacks meet bodies, in recorded games: frames on which one could hit, and whether it did.

The geometry is that of `exphil_tf.sim.rules.hits`, for many frames at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.hit_events import begins
from exphil_tf.sim.hit_tables import hit_tables
from exphil_tf.sim.recorded import Recorded

CONTACT = np.dtype(
    [
        ("attacker", "i1"), ("victim", "i1"), ("action", "i2"), ("frame", "i2"), ("pose", "i1"),
        ("dx", "f4"), ("dy", "f4"), ("face", "f4"), ("hit", "i1"), ("damage", "f4"),
        ("shield", "f4"), ("held_out", "i1"), ("at", "i4"), ("row", "i4"),
    ]
)  # fmt: skip
"""A frame: who attacks whom, framedata's frame, the victim from the attacker (forwards, up),
and whether it faces the same way."""


def contacts(games: Iterable[Recorded], *, guarded: bool = False) -> np.ndarray:
    """`CONTACT` rows: frames with a hitbox out that has not hit yet, nobody invulnerable.

    Args:
      games: recorded ones.
      guarded: frames on which the victim shields, and only those; `hit` is a touch of the shield.
    """
    parts = [_of_attacker(game, a, guarded=guarded) for game in games for a in (0, 1)]
    return np.concatenate(parts) if parts else np.zeros(0, CONTACT)


def _of_attacker(game: Recorded, a: int, *, guarded: bool) -> np.ndarray:
    v = 1 - a
    row, window = box_rows(game, a)
    action, lag = game["action"].astype(int), game["hitlag"]
    fresh = _fresh(action[:, a], window, game["state_age"][:, a], touched=lag[:, a] > 0)
    if guarded:
        hit = np.append(False, ((lag[1:] > 0) & (lag[:-1] == 0)).all(1))
        shields = _shields(action[:, v])
        may = np.append(False, shields[:-1]) & (shields | hit)
        may &= (action[:, a] < act.GRAB) | (action[:, a] > act.THROW_LOW)
    else:
        hit = np.zeros(len(action), bool)
        hit[begins(game, v)] = True
        may = (game["invulnerable"][:, v] == 0) & ~_shields(action[:, v])
    may &= (window > 0) & fresh & ((lag[:, a] == 0) | hit) & (action[:, v] > act.REBIRTH_WAIT)
    may &= np.append(False, ~hit[:-1])
    may[0] = False
    return _rows(game, a, np.flatnonzero(may), hit=hit, row=row)


def _shields(action: np.ndarray) -> np.ndarray:
    up = (action >= act.GUARD_ON) & (action <= act.GUARD_REFLECT)
    return up & (action != act.GUARD_OFF)


def box_rows(game: Recorded, a: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a player's hitboxes, and their windows (0 where none are out), `[frames]`."""
    tables = hit_tables()
    action = game["action"][:, a].astype(int)
    key = game["character"][:, a].astype(int), np.minimum(action, act.ACTIONS - 1)
    frame = np.round(game["state_age"][:, a]).astype(int) + tables["box_shift"][key]
    first, start = tables["box_first"][key], tables["box_row"][key]
    active = (action < act.ACTIONS) & (start >= 0)
    active &= (frame >= first) & (frame <= tables["box_last"][key])
    row = np.where(active, start + frame - first, 0)
    return row, np.where(active, tables["boxes"]["window"][row], 0)


def _rows(
    game: Recorded, a: int, at: np.ndarray, *, hit: np.ndarray, row: np.ndarray
) -> np.ndarray:
    tables, v = hit_tables(), 1 - a
    found = np.zeros(len(at), CONTACT)
    side = np.where(game["facing"][at, a], 1, -1)
    found["attacker"], found["victim"] = game["character"][at, a], game["character"][at, v]
    found["action"], found["row"], found["at"] = game["action"][at, a], row[at], at
    key = found["attacker"].astype(int), np.minimum(found["action"], act.ACTIONS - 1)
    found["frame"] = row[at] - tables["box_row"][key] + tables["box_first"][key]
    earlier = np.where(hit[at], at - 1, at)  # a hit changes how the victim stands
    pose = np.minimum(game["action"][earlier, v].astype(int), act.ACTIONS - 1)
    found["pose"] = tables["pose"][game["on_ground"][earlier, v].astype(int), pose]
    found["dx"] = (game["x"][at, v] - game["x"][at, a]) * side
    found["dy"] = game["y"][at, v] - game["y"][at, a]
    found["face"] = np.where(game["facing"][at - 1, v], 1, -1) * side
    found["hit"], found["held_out"] = hit[at], game.held_out[a]
    found["damage"] = (game["percent"][at, v] - game["percent"][at - 1, v]) * hit[at]
    found["shield"] = game["shield"][at - 1, v]
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

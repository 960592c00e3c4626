"""How large a projectile is: the radius and length that tell recorded hits from misses best.

The geometry is that of `exphil_tf.sim.rules.shots`: a circle that sweeps from place to place, or a
beam that reaches back from its tip to where it began, and the victim's capsule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.hit_tables import hit_tables
from exphil_tf.sim.recorded import Recorded

USUAL_SIZE = 2.0
_MIN_HITS, _MIN_BEAM_HITS = 5, 20
_MOST_FLIGHTS = 600
_SIZES = np.arange(0.25, 9.01, 0.25)
_TAILS = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0)
"""Units that a beam reaches back from its tip, at most to where it began."""
Flight = tuple[Recorded, np.ndarray, bool]
"""A game, its `FLIGHT` record, and whether that ends in a hit."""


def sizes(flown: Sequence[Flight]) -> dict[str, float]:
    """`size`, a radius, and `tail`: what tells most flights that hit, on their frame, from others.

    Args:
      flown: of one kind.
    """
    hits = sum(is_hit for *_, is_hit in flown)
    if hits < _MIN_HITS:
        return {"size": USUAL_SIZE, "tail": 0.0}
    flown = flown[:: -(-len(flown) // _MOST_FLIGHTS)]
    best, found = -1, {}
    for tail in _TAILS if hits >= _MIN_BEAM_HITS else _TAILS[:1]:
        near = [gaps(game, row, tail, is_hit=is_hit) for game, row, is_hit in flown]
        before, end = np.array(near).T
        is_right = [((before >= r) & (np.isinf(end) | (end < r))).sum() for r in _SIZES]
        if max(is_right) > best:
            best = max(is_right)
            found = {"size": float(_SIZES[int(np.argmax(is_right))]), "tail": tail}
    return found


def gaps(game: Recorded, row: np.ndarray, tail: float, *, is_hit: bool) -> tuple[float, float]:
    """How near a flight comes to a body's capsule: before its last frame, and on that of the hit.

    Args:
      game: recorded.
      row: `FLIGHT` record.
      tail: units that it reaches back.
      is_hit: whether it ends in a hit; else the second is infinite.
    """
    slot, victim, first = int(row["slot"]), 1 - int(row["owner"]), int(row["first"])
    frames = np.arange(first, int(row["after"]) + is_hit)
    shown = np.minimum(frames, int(row["after"]) - 1)
    tip, step = (
        np.stack([game[f"i.{name}{axis}"][shown, slot] for axis in "xy"], 1).astype(float)
        for name in ("", "speed_")
    )
    if is_hit:
        tip[-1] += step[-1]
    speed = np.hypot(*step.T)
    back = np.minimum(np.maximum(tail, speed), speed * (frames - first))
    apart = _apart(game, frames, victim, tip=tip, along=step / np.maximum(speed, 1e-9)[:, None],
                   back=back, is_hit=is_hit)  # fmt: skip
    if not is_hit:
        return float(apart.min()), np.inf
    return float(apart[:-1].min(initial=np.inf)), float(apart[-1])


def _apart(
    game: Recorded,
    frames: np.ndarray,
    victim: int,
    *,
    tip: np.ndarray,
    along: np.ndarray,
    back: np.ndarray,
    is_hit: bool,
) -> np.ndarray:
    """Units between a beam's middle line and a capsule; infinite where nobody can be hit."""
    tables = hit_tables()
    stands = frames.copy()
    if is_hit:
        stands[-1] -= 1  # a hit changes how the victim stands
    action = np.minimum(game["action"][stands, victim].astype(int), act.ACTIONS - 1)
    pose = tables["pose"][game["on_ground"][stands, victim].astype(int), action]
    body = tables["bodies"][game["character"][frames, victim].astype(int), pose]
    side = np.where(game["facing"][stands, victim], 1.0, -1.0)
    low, high = body["low"], np.maximum(body["low"], body["high"])
    x = tip[:, 0] - (game["x"][frames, victim] + body["x"] * side)
    y = tip[:, 1] - game["y"][frames, victim]
    ago = np.clip(x * along[:, 0] + (y - (low + high) / 2) * along[:, 1], 0, back)
    x, y = x - ago * along[:, 0], y - ago * along[:, 1]
    apart = np.hypot(x, y - np.clip(y, low, high)) - body["radius"]
    guards = (action >= act.GUARD_ON) & (action <= act.GUARD_REFLECT) & (action != act.GUARD_OFF)
    may = (game["invulnerable"][stands, victim] == 0) & (action > act.REBIRTH_WAIT) & ~guards
    may &= (action < act.HELD_FIRST) | (action > act.THROWN_LAST)
    return np.where(may, apart, np.inf)

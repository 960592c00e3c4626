"""Bodies, shields and holds that attacks meet, estimated from recorded games.

A body is an upright capsule by character and pose: the one that tells frames on which an attack
hits from those on which it does not best. No replay records more of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.contacts import contacts, gaps
from exphil_tf.sim.hit_tables import BODY, HELD_AGES, POSES, hit_tables
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.shields import SMALLEST

Row = dict[str, Any]
_MIN_FRAMES = 3
_IMAGINED = 0.6
"""What a hit that nobody saw costs beside one that was missed: near frames without are many."""
_NEAR = 12.0
"""Distance from a hitbox beyond which a frame says nothing about bodies."""


def bodies(games: Iterable[Recorded], *, own: int) -> Iterator[Row]:
    """Capsules that tell hits from misses best, by character and pose."""
    rows = contacts(games)
    rows = rows[rows["held_out"] == own]
    start = hit_tables()["bodies"]
    rows = rows[gaps(rows, start[rows["victim"], rows["pose"]]).min(1) < _NEAR]
    for victim in np.unique(rows["victim"]).tolist():
        for pose in range(POSES):
            here = rows[(rows["victim"] == victim) & (rows["pose"] == pose)]
            hits = int((here["hit"] == 1).sum())
            if hits < 15:
                continue
            pick = np.random.default_rng(0).permutation(len(here))[:5000]
            body, wrong = _descend(here[np.sort(pick)], start[victim, pose])
            yield {
                "character": victim, "pose": pose, "x": round(float(body["x"]), 2),
                "low": round(float(body["low"]), 2),
                "high": round(float(body["high"]), 2), "radius": round(float(body["radius"]), 2),
                "hits": hits, "missed": wrong[0], "imagined": wrong[1], "of": len(pick),
            }  # fmt: skip


def bubbles(games: Iterable[Recorded], *, own: int) -> Iterator[Row]:
    """Circles that tell touches of full shields from misses best, by character."""
    rows = contacts(games, guarded=True)
    rows = rows[rows["held_out"] == own]
    for victim in np.unique(rows["victim"]).tolist():
        here = rows[rows["victim"] == victim]
        start = np.zeros((), BODY)
        start["low"], start["high"], start["radius"] = 9.0, 9.0, 9.0
        here = here[gaps(here, start).min(1) < _NEAR]
        if (here["hit"] == 1).sum() >= 20:
            body, wrong = _descend(here, start, names=("x", "low", "radius"))
            yield {
                "character": victim, "x": float(body["x"]), "y": float(body["low"]),
                "radius": float(body["radius"]), "hits": int((here["hit"] == 1).sum()),
                "missed": wrong[0], "imagined": wrong[1], "of": len(here),
            }  # fmt: skip


def _descend(
    rows: np.ndarray, start: np.ndarray, names: tuple[str, ...] = ("x", "low", "high", "radius")
) -> tuple[np.ndarray, tuple[int, int]]:
    hit = rows["hit"] == 1
    is_round = "high" not in names
    share = SMALLEST + (1 - SMALLEST) * rows["shield"] / 60 if is_round else 1.0

    def cost(body: np.ndarray) -> tuple[float, int, int]:
        body = np.broadcast_to(body, len(rows)).copy()
        body["radius"] *= share
        touch = gaps(rows, body).min(1) < 0
        missed, imagined = int((hit & ~touch).sum()), int((~hit & touch).sum())
        return missed + _IMAGINED * imagined, missed, imagined

    best = np.zeros((), BODY)
    best[...] = start
    least = cost(best)
    for step in (2.0, 1.0, 0.5):
        moved = True
        while moved:
            moved = False
            for name in names:
                for change in (-step, step):
                    other = best.copy()
                    other[name] += change
                    if is_round:
                        other["high"] = other["low"]
                    if other["radius"] < 0.5 or other["high"] < other["low"]:
                        continue
                    found = cost(other)
                    if found[0] < least[0]:
                        best, least, moved = other, found, True
    return best, least[1:]


def safe_frames(games: Iterable[Recorded], *, own: int) -> Iterator[Row]:
    """Frames of actions on which nobody can be hit: first and last age that most records show."""
    counts: dict[tuple[int, int], np.ndarray] = {}
    for game in games:
        action = game["action"].astype(int)
        age = np.round(game["state_age"]).astype(int)
        for player in (0, 1):
            if game.held_out[player] != own:
                continue
            inside = (action[:, player] < act.ACTIONS) & (age[:, player] >= 0)
            inside &= (age[:, player] < 128) & (action[:, player] > act.REBIRTH_WAIT)
            who = game["character"][:, player].astype(int)
            key = who * act.ACTIONS + action[:, player]
            for one in np.unique(key[inside]).tolist():
                here = inside & (key == one)
                table = counts.setdefault(divmod(one, act.ACTIONS), np.zeros((2, 128), np.int64))
                np.add.at(table[0], age[here, player], 1)
                np.add.at(table[1], age[here, player], game["invulnerable"][here, player] != 0)
    for (character, action), (seen, safe) in sorted(counts.items()):
        on = np.flatnonzero((seen >= 3) & (safe > 0.7 * seen))
        if len(on) and not act.LEDGE_CATCH <= action <= act.LEDGE_WAIT:
            yield {"character": character, "action": action, "first": int(on[0]),
                   "last": int(on[-1]), "count": int(seen[on].sum())}  # fmt: skip


def held_places(games: Iterable[Recorded]) -> Iterator[Row]:
    """Where who is held is, from the holder: forwards and up, by action and age."""
    places: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for game in games:
        for a in (0, 1):
            v, action = 1 - a, game["action"][:, a].astype(int)
            inside = (action >= act.GRAB_PULL) & (action <= act.THROW_LOW)
            other = game["action"][:, v].astype(int)
            held = (other >= act.HELD_FIRST) & (other <= act.HELD_LAST)
            held |= (other >= act.THROWN_F) & (other <= act.THROWN_LOW)
            start = np.append(True, action[1:] != action[:-1])
            frames = np.arange(len(action))
            frames -= np.maximum.accumulate(np.where(start, frames, 0))
            age = np.round(game["state_age"][:, a]).astype(int)
            at = np.where(action >= act.THROW_F, age, frames)
            side = np.where(game["facing"][:, a], 1, -1)
            x = (game["x"][:, v] - game["x"][:, a]) * side
            y = game["y"][:, v] - game["y"][:, a]
            for row in np.flatnonzero(inside & held & (at < HELD_AGES) & (at >= 0)).tolist():
                key = int(game["character"][row, a]), int(action[row]), int(at[row])
                places.setdefault(key, []).append((float(x[row]), float(y[row])))
    for (character, action, age), found in sorted(places.items()):
        if len(found) >= _MIN_FRAMES:
            x, y = np.median(found, 0)
            yield {"character": character, "action": action, "age": age, "x": round(float(x), 2),
                   "y": round(float(y), 2), "count": len(found)}  # fmt: skip

"""What attacks do, estimated from recorded hits: damage, angle, knockback, which hitbox, bodies.

A recorded launch speed is knockback times 0.03, and knockback is a line in what percent, damage and
weight make: its slope is the growth, its height the base. Both are whole numbers in the game, so
the pair that most hits of one damage agree on is the game's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.contacts import contacts, gaps
from exphil_tf.sim.fit_bodies import bodies, bubbles, held_places, safe_frames
from exphil_tf.sim.hit_events import Events, hit_events
from exphil_tf.sim.hit_tables import SLOTS, hit_tables
from exphil_tf.sim.recorded import Recorded

Row = dict[str, Any]
SAKURAI = 361.0
_CROUCHES = (act.SQUAT, act.SQUAT_WAIT)
_MIN_HITS = 3
_THROWN_WEIGHT = 100.0
"""Throws launch everybody like this (published, and what recordings agree on)."""


def weights() -> np.ndarray:
    """Weights by character, f8 `[CHARACTERS]`."""
    return hit_tables()["weight"].astype(float)


def pull(
    percent: np.ndarray, damage: np.ndarray, dealt: np.ndarray, *, weight: np.ndarray
) -> np.ndarray:
    """What growth multiplies: see `exphil_tf.sim.rules.knockback`."""
    after = np.floor(percent) + dealt
    return (after / 10 + after * damage / 20) * 1.4 * 200 / (weight + 100) + 18


def fit_hits(games: Sequence[Recorded]) -> dict[str, list[Row]]:
    """Tables of hits, throws and bodies, by players that are not held out.

    What only games of held-out players show is estimated on those, marked `own` 1, and no judge of
    the rules.
    """
    events = hit_events(games)
    return {
        "hits": _filled(lambda own: _hits(events, games, own=own), "character", "action"),
        "throws": _filled(lambda own: _throws(events, games, own=own), "character", "action"),
        "held": list(held_places(games)),
        "bodies": _filled(lambda own: bodies(games, own=own), "character", "pose"),
        "bubbles": _filled(lambda own: bubbles(games, own=own), "character"),
        "safe": _filled(lambda own: safe_frames(games, own=own), "character", "action"),
    }


def _filled(estimate: Callable[[int], Iterable[Row]], *key: str) -> list[Row]:
    """Rows of an estimate; those of held-out players where the others have none."""
    rows = [row | {"own": 0} for row in estimate(0)]
    known = {tuple(row[name] for name in key) for row in rows}
    more = (row | {"own": 1} for row in estimate(1))
    rows += [row for row in more if tuple(row[name] for name in key) not in known]
    return sorted(rows, key=lambda row: tuple(row[name] for name in key))


def _hits(events: Events, games: Sequence[Recorded], *, own: int) -> Iterator[Row]:
    mine = events.where(events["held_out"] == own)
    yield from _slots(list(_kinds(mine)), games, own=own)


# -- What a hit does -------------------------------------------------------------------------------


def _kinds(events: Events) -> Iterator[Row]:
    """One row for each character, action, damage and angle."""
    whole = np.abs(events["damage"] - np.round(events["damage"])) < 2e-3
    plain = whole & (events["knockback"] > 0) & (events["traded"] < 2)
    plain &= (events["action"] < act.ACTIONS) & (events["action"] >= act.JAB_1)
    attack = (events["action"] < act.DAMAGE_FIRST) | (events["action"] > act.THROWN_LAST)
    attack |= (events["action"] >= act.DOWN_STAND_UP - 1) & (events["action"] < act.GRAB)
    plain &= attack
    keys = np.stack([events["attacker"], events["action"], np.round(events["damage"])], 1)
    for key in np.unique(keys[plain], axis=0):
        group = events.where(plain & (keys == key).all(1))
        for angle, mask in _angles(group):
            here = group.where(mask)
            if len(here) >= _MIN_HITS:
                yield _kind(key, angle, here, whole=len(group))


def _angles(group: Events) -> Iterator[tuple[float, np.ndarray]]:
    """Launch angles that several hits share, with the hits that may be theirs."""
    angle, grounded = group["angle"], group["grounded"] == 1
    ground_361 = grounded & ((np.abs(angle - 44) < 0.2) | (group["stays"] == 1))
    air_361 = ~grounded & (np.abs(angle - 45) < 0.2)
    is_sakurai = air_361.sum() + (grounded & (np.abs(angle - 44) < 0.2)).sum()
    free = ~(ground_361 | air_361)
    if is_sakurai >= _MIN_HITS and (np.abs(angle[grounded] - 45) < 0.2).sum() <= ground_361.sum():
        yield SAKURAI, ground_361 | air_361
    else:
        free = np.ones(len(angle), bool)
    rounded = np.round(angle).astype(int) % 360
    exact = free & (np.abs(angle - np.round(angle)) < 0.2) & (group["stays"] == 0)
    values, counts = np.unique(rounded[exact], return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if count >= max(_MIN_HITS, 0.1 * len(angle)):
            yield float(value), exact & (rounded == value)


def _kind(key: np.ndarray, angle: float, hits: Events, *, whole: int) -> Row:
    growth, base, fixed, agree = _line(hits, weights()[hits["victim"].astype(int)])
    electric = np.mean(hits["hitlag"] >= np.floor(1.5 * np.floor(hits["dealt"] / 3 + 3)))
    moves, counts = np.unique(hits["move"], return_counts=True)
    age = hits["age"]
    return {
        "character": int(key[0]), "action": int(key[1]), "damage": float(key[2]), "angle": angle,
        "growth": growth, "base": base, "set": fixed, "electric": int(electric > 0.5),
        "move": int(moves[counts.argmax()]), "count": len(hits), "agree": round(agree, 3),
        "early": float(np.percentile(age, 3)), "late": float(np.percentile(age, 97)),
        "share": len(hits) / whole,
    }  # fmt: skip


def kind_of_shot(hits: Events) -> Row:
    """What a projectile does, of the hits of one; `flinches` 0 where it does damage alone."""
    rounded = np.round(hits["damage"])
    whole = np.abs(hits["damage"] - rounded) < 2e-3
    damage = _commonest(rounded[whole] if whole.any() else rounded)
    group = hits.where(rounded == damage)
    found = max(_angles(group), key=lambda pair: pair[1].sum(), default=None)
    angle, mask = found or (float(np.round(np.median(group["angle"]))), np.ones(len(group), bool))
    key = np.array([0, 0, damage])
    row = _kind(key, angle, group.where(mask), whole=len(group))
    names = ("damage", "angle", "growth", "base", "set", "electric", "move", "agree")
    flinches = int(np.mean(hits["hitlag"] > 0) > 0.5)
    if not flinches:
        row |= {"angle": 0.0, "growth": 0, "base": 0, "set": 0, "electric": 0, "agree": 1.0}
    return {name: row[name] for name in names} | {"flinches": flinches, "hits": len(hits)}


def _line(hits: Events, weight: np.ndarray | float) -> tuple[int, int, int, float]:
    """Growth, base, damage of a set knockback, and the share of hits that agree."""
    still = (hits["moving"] == 0) & ~np.isin(hits["before"], _CROUCHES)
    if still.sum() < 2:
        still = np.ones(len(hits), bool)
    damage = np.round(hits["damage"])[still]
    weight = np.broadcast_to(weight, still.shape)[still]
    x = pull(hits["percent"][still], damage, hits["dealt"][still], weight=weight)
    y = hits["knockback"][still]
    growths = np.arange(0, 301)
    rest = y - x * growths[:, None] / 100
    base = np.round(np.median(rest, 1)) if len(y) < 6 else _mode(rest)
    agree = (np.abs(rest - base[:, None]) < 0.25).sum(1) - 1e3 * ((base < 0) | (base > 300))
    best = int(np.lexsort((np.abs(growths - 100), -agree))[0])
    sets = np.arange(1, 301)
    steady = ((1 + sets[:, None] / 2) * 1.4 * 200 / (weight + 100) + 18) - y
    fixed = (np.abs(steady) < 0.35).sum(1)
    if fixed.max() > 0.5 * len(y) and fixed.max() >= agree[best]:
        return 100, 0, int(sets[fixed.argmax()]), float(fixed.max() / len(y))
    return int(growths[best]), int(base[best]), 0, float(agree[best] / len(y))


def _mode(rest: np.ndarray) -> np.ndarray:
    """Of each row, the whole number that most values are near."""
    found = np.empty(len(rest))
    for at, row in enumerate(np.round(rest).astype(int)):
        values, counts = np.unique(row, return_counts=True)
        found[at] = values[counts.argmax()]
    return found


# -- Which hitbox does it --------------------------------------------------------------------------


def _slots(kinds: list[Row], games: Sequence[Recorded], *, own: int) -> Iterator[Row]:
    """Kinds laid on hitboxes: by the recorded hits that a hitbox was nearest to."""
    rows = contacts(games)
    rows = rows[(rows["hit"] == 1) & (rows["held_out"] == own)]
    bodies = hit_tables()["bodies"][rows["victim"], rows["pose"]]
    apart = gaps(rows, bodies)
    first_touch = np.where((apart < 0).any(1), (apart < 0).argmax(1), apart.argmin(1))
    for key in sorted({(row["character"], row["action"]) for row in kinds}):
        mine = [row for row in kinds if (row["character"], row["action"]) == key]
        here = (rows["attacker"] == key[0]) & (rows["action"] == key[1])
        if hit_tables()["box_row"][key] >= 0:
            yield from _laid(key, mine, rows[here], slot=first_touch[here])


_SAME_DAMAGE, _SAME_ANGLE = 0.02, 0.5
_OTHER_ANGLE, _OTHER_SLOT, _NEAR_FRAMES = 0.3, 0.02, 0.7
"""Votes of a hit at another angle and for slots it was not nearest to; frames it speaks for."""


def _laid(
    key: tuple[int, int], own: list[Row], rows: np.ndarray, *, slot: np.ndarray
) -> Iterator[Row]:
    tables = hit_tables()
    first, last = int(tables["box_first"][key]), int(tables["box_last"][key])
    frames = np.arange(first, last + 1)
    votes = np.zeros((len(frames), SLOTS, len(own)))
    damages, angles = (np.array([row[name] for row in own]) for name in ("damage", "angle"))
    for row, where in zip(rows, slot, strict=True):
        same = np.abs(damages - row["damage"]) < _SAME_DAMAGE
        sakurai = min(abs(row["angle"] - one) for one in (0.0, 44.0, 45.0)) < _SAME_ANGLE
        alike = (np.abs(angles - row["angle"]) < _SAME_ANGLE) | ((angles == SAKURAI) & sakurai)
        likely = same * np.where(alike, 1.0, _OTHER_ANGLE)
        near = np.exp(-np.abs(frames - row["frame"]) / _NEAR_FRAMES)
        votes[:, where] += near[:, None] * likely
        votes += _OTHER_SLOT * near[:, None, None] * likely
    shift = int(tables["box_shift"][key])
    for at, kind in enumerate(own):
        inside = (frames >= kind["early"] + shift) & (frames <= kind["late"] + shift)
        votes[inside, :, at] += 0.02 * np.sqrt(kind["count"])
        votes[:, :, at] += 1e-4 * kind["count"]
    best = votes.argmax(2)
    for at_slot in range(SLOTS):
        yield from _runs(key, at_slot, [own[kind] for kind in best[:, at_slot]])


_VALUES = ("damage", "angle", "growth", "base", "set", "electric", "move", "count", "agree")


def _runs(key: tuple[int, int], slot: int, kinds: list[Row]) -> Iterator[Row]:
    """Rows of a slot: one for each run of frames that do the same."""
    tables = hit_tables()
    row, first = int(tables["box_row"][key]), int(tables["box_first"][key])
    filled = tables["boxes"]["kind"][row : row + len(kinds), slot] >= 0
    start = 0
    for at in range(1, len(kinds) + 1):
        if at < len(kinds) and kinds[at] is kinds[start]:
            continue
        if filled[start:at].any():
            yield {
                "character": key[0], "action": key[1], "slot": slot,
                "first": first + start, "last": first + at - 1,
                **{name: kinds[start][name] for name in _VALUES},
            }  # fmt: skip
        start = at


# -- Throws ----------------------------------------------------------------------------------------


def _throws(events: Events, games: Sequence[Recorded], *, own: int) -> Iterator[Row]:
    """Of each throw: a blow on the way, if there is one, and what the release does."""
    events = events.where(events["held_out"] == own)
    whole = np.abs(events["damage"] - np.round(events["damage"])) < 2e-3
    by_weight, lengths = _by_weight(games), _lengths(games)
    for character in np.unique(events["attacker"]).tolist():
        for action in range(act.THROW_F, act.THROW_LOW + 1):
            mine = (events["attacker"] == character) & (events["action"] == action) & whole
            held = mine & (events["before"] >= act.THROWN_F) & (events["before"] <= act.THROWN_LOW)
            ends = held & (events["own_hitlag"] == 0) & (events["knockback"] > 0)
            blows = events.where(held & (events["own_hitlag"] > 0))
            if ends.sum() >= _MIN_HITS:
                release = events.where(ends)
                yield _throw((character, action), release, blows) | {
                    "length": lengths.get((character, action), 0.0),
                    "by_weight": int(by_weight.get((character, action), False)),
                }
        pummels = events.where(
            (events["attacker"] == character) & (events["action"] == act.PUMMEL) & whole
        )
        if len(pummels) >= _MIN_HITS:
            yield _pummel(character, pummels) | {
                "length": lengths.get((character, act.PUMMEL), 0.0), "by_weight": 0,
            }  # fmt: skip


def _throw(key: tuple[int, int], release: Events, blows: Events) -> Row:
    damage = _commonest(np.round(release["damage"]))
    has_blow = len(blows) > len(release) / 2
    release = release.where(np.round(release["damage"]) == damage)
    growth, base, fixed, agree = _line(release, _THROWN_WEIGHT)
    side = np.sign(np.cos(np.radians(release["angle"])) * release["away"])
    return {
        "character": key[0], "action": key[1], "damage": damage,
        "angle": _throw_angle(release, side), "growth": growth, "base": base, "set": fixed,
        "age": round(float(np.percentile(release["age"], 10)), 2),
        "blow_age": round(float(np.percentile(blows["age"], 10)), 2) if has_blow else 0.0,
        "blow_damage": _commonest(np.round(blows["damage"])) if has_blow else 0.0,
        "move": int(_commonest(release["move"])), "after": int(_commonest(release["after"])),
        "count": len(release), "agree": round(agree, 3),
    }  # fmt: skip


def _pummel(character: int, hits: Events) -> Row:
    nothing = dict.fromkeys(("angle", "growth", "base", "set", "blow_age", "blow_damage"), 0.0)
    return {
        "character": character, "action": act.PUMMEL,
        "damage": _commonest(np.round(hits["damage"])),
        **{name: nothing[name] for name in ("angle", "growth", "base", "set")},
        "age": _commonest(np.round(hits["age"])),
        "blow_age": 0.0, "blow_damage": 0.0, "move": int(_commonest(hits["move"])),
        "after": 0, "count": len(hits), "agree": 1.0,
    }  # fmt: skip


def _lengths(games: Iterable[Recorded]) -> dict[tuple[int, int], float]:
    """Age at which pummels and throws are over, where nothing cuts them short."""
    ends: dict[tuple[int, int], list[float]] = {}
    for game in games:
        for a in (0, 1):
            action, age = game["action"][:, a].astype(int), game["state_age"][:, a]
            leaves = (action[:-1] >= act.PUMMEL) & (action[:-1] <= act.THROW_LOW)
            leaves &= np.isin(action[1:], (act.WAIT, act.GRAB_WAIT)) & (action[1:] != action[:-1])
            for at in np.flatnonzero(leaves).tolist():
                key = int(game["character"][at, a]), int(action[at])
                ends.setdefault(key, []).append(float(2 * age[at] - age[at - 1]))
    return {key: round(float(np.median(found)) - 0.02, 2) for key, found in ends.items()}


def _by_weight(games: Iterable[Recorded]) -> dict[tuple[int, int], bool]:
    """Whether a throw's animation runs faster for light victims."""
    rates: dict[tuple[int, int], list[bool]] = {}
    for game in games:
        for a in (0, 1):
            action, age = game["action"][:, a], game["state_age"][:, a]
            on = (action[1:] >= act.THROW_F) & (action[1:] <= act.THROW_LOW)
            on &= (action[1:] == action[:-1]) & (game["hitlag"][1:, a] == 0)
            victim = weights()[game["character"][:, 1 - a].astype(int)]
            for at in np.flatnonzero(on & (np.diff(age) > 0.1)).tolist():
                if victim[at] != _THROWN_WEIGHT:
                    key = int(game["character"][at, a]), int(action[at])
                    same = abs(age[at + 1] - age[at] - _THROWN_WEIGHT / victim[at]) < 0.01
                    rates.setdefault(key, []).append(bool(same))
    return {key: float(np.mean(same)) > 0.5 for key, same in rates.items()}


def _throw_angle(release: Events, side: np.ndarray) -> float:
    """Middle of the launches, which directional influence has bent both ways."""
    angle = np.radians(release["angle"])
    up = np.degrees(np.arctan2(np.sin(angle), np.abs(np.cos(angle))))
    middle = float(np.median(up))
    forwards = float(np.median(side))
    return round(middle if forwards >= 0 else 180 - middle, 0)


def _commonest(values: np.ndarray) -> float:
    kinds, counts = np.unique(values, return_counts=True)
    return float(kinds[counts.argmax()])

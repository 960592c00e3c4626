"""What players shoot and throw, estimated from recorded items: `data/shots.csv`.

One row says what leaves a player at an age of an action: from where (from the position of the frame
before, forwards and up), how fast, how it flies on, for how long, and what it does to whom it
meets. Age: the smallest that all launches of a row share, since a throw's animation runs at the
speed of its victim's weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.melee.specials import CHARGES
from exphil_tf.sim import actions as act
from exphil_tf.sim.fit_hits import kind_of_shot
from exphil_tf.sim.fit_shot_sizes import sizes
from exphil_tf.sim.flights import flights, shot_hits
from exphil_tf.sim.hit_events import Events, of_player
from exphil_tf.sim.recorded import Recorded

Row = dict[str, Any]
_MIN_LAUNCHES = 4
_TYPES = (0x30, 0x7F)
"""Items that characters bring along; the others lie about."""
_MOST_TIMER = 1000
"""Timers from here on count nothing."""


class Flown(NamedTuple):
    """One flight and who began it."""

    game: Recorded
    row: np.ndarray
    """`FLIGHT` record."""
    character: int
    action: int
    age: float
    age_before: float
    held_out: bool
    hit: dict[str, float] | None
    """The hit that it ends in, as a row of `Events`; its angle from the flight's own way."""

    def course(self) -> np.ndarray:
        """Place and speed, forwards and up, from the shooter's place before, `[frames, 4]`."""
        at = slice(int(self.row["first"]), int(self.row["after"]))
        slot, owner, start = int(self.row["slot"]), int(self.row["owner"]), at.start
        game = self.game
        side = 1.0 if game["facing"][start, owner] else -1.0
        return np.stack(
            [
                (game["i.x"][at, slot] - game["x"][start - 1, owner]) * side,
                game["i.y"][at, slot] - game["y"][start - 1, owner],
                game["i.speed_x"][at, slot] * side, game["i.speed_y"][at, slot],
            ], 1,
        ).astype(float)  # fmt: skip


def fit_shots(games: Sequence[Recorded]) -> list[Row]:
    """Rows of the table; held-out players' where nobody else shows a launch, marked `own` 1."""
    found: dict[tuple[int, ...], list[Flown]] = {}
    for one in _all(games):
        key = one.character, one.action, int(one.row["type"]), int(one.row["state"])
        found.setdefault(key, []).append(one)
    rows: list[Row] = []
    for key, flown in sorted(found.items()):
        shown = [one for one in flown if not one.held_out]
        own = int(len(shown) < _MIN_LAUNCHES)
        rows += _of_action(key, flown if own else shown, own=own)
    kinds = {key: _kind(_like(found, key)) for key in {_kind_key(r) for r in rows}}
    return [row | kinds[_kind_key(row)] for row in rows]


def _kind_key(row: Row) -> tuple[int, int, int]:
    return row["character"], row["type"], row["state"]


def _like(found: dict[tuple[int, ...], list[Flown]], key: tuple[int, ...]) -> list[Flown]:
    """Flights of a character's items of one type and state, whatever action they came of."""
    alike = [flown for (who, _, *kind), flown in found.items() if (who, *kind) == key]
    flown = [one for part in alike for one in part]
    shown = [one for one in flown if not one.held_out]
    return shown if len(shown) >= _MIN_LAUNCHES else flown


def _kind(flown: list[Flown]) -> Row:
    """How it flies, what it does to whom it meets, and how large it is."""
    courses = [one.course() for one in flown]
    return (
        _flight(flown, courses)
        | _hit_of(flown)
        | sizes([(one.game, one.row, one.hit is not None) for one in flown])
    )


def _all(games: Sequence[Recorded]) -> Iterator[Flown]:
    for game in games:
        hits = [_hits(game, victim) for victim in (0, 1)]
        for row in flights(game):
            at, owner = int(row["first"]), int(row["owner"])
            action = int(game["action"][at, owner])
            if at < 1 or not _leaves(game, row) or action != game["action"][at - 1, owner]:
                continue
            age, before = (float(game["state_age"][one, owner]) for one in (at, at - 1))
            if _shoots(action) and before < age:
                hit = hits[1 - owner].get(int(row["after"]))
                yield Flown(game, row, int(game["character"][at, owner]), action, age, before,
                            game.held_out[owner], _turned(game, row, hit))  # fmt: skip


def _shoots(action: int) -> bool:
    """Special moves and throws; who throws an item has to hold one, which the rules do not know."""
    return act.SPECIAL_FIRST <= action < act.ACTIONS or act.THROW_F <= action <= act.THROW_LOW


def _leaves(game: Recorded, row: np.ndarray) -> bool:
    """Whether a flight begins with a launch: not where another one goes over into it."""
    before, slot = int(row["first"]) - 1, int(row["slot"])
    exists, kind, *speed = (
        float(game[f"i.{name}"][before, slot]) for name in ("exists", "type", "speed_x", "speed_y")
    )
    goes_on = exists > 0 and kind == row["type"] and any(speed)
    return _TYPES[0] <= int(row["type"]) <= _TYPES[1] and not goes_on


def _hits(game: Recorded, victim: int) -> dict[int, dict[str, float]]:
    by_shot = shot_hits(game, victim)
    if not by_shot.any():
        return {}
    rows = ((int(row["frame"]), row) for row in of_player(game, victim))
    return {frame: row for frame, row in rows if by_shot[frame]}


def _turned(
    game: Recorded, row: np.ndarray, hit: dict[str, float] | None
) -> dict[str, float] | None:
    """A hit with its angle from the flight's way."""
    if hit is None:
        return None
    frame, victim = int(row["after"]), 1 - int(row["owner"])
    way = 1.0 if game["i.speed_x"][frame - 1, row["slot"]] >= 0 else -1.0
    kx, ky = (game[f"speed_{axis}_attack"][frame, victim] for axis in "xy")
    return hit | {"angle": float(np.degrees(np.arctan2(ky, kx * way)) % 360)}


def _of_action(key: tuple[int, ...], flown: list[Flown], *, own: int) -> Iterator[Row]:
    part, charge = 0, CHARGES.get(key[0])  # pyright: ignore[reportArgumentType,reportCallIssue]
    counts_parts = charge is not None and charge.every > 0
    for age, launched in _launches(flown):
        courses = [one.course() for one in launched]
        start = np.median([course[0] for course in courses], 0)
        if np.hypot(*start[:2]) > _MOST_AWAY:
            continue
        part += 1
        yield {
            "character": key[0], "action": key[1], "age": round(age, 2), "type": key[2],
            "state": key[3], "part": part if counts_parts else 0,
            **dict(zip(("x", "y", "speed_x", "speed_y"), start.round(3).tolist(), strict=True)),
            "count": len(launched), "spread": round(_spread(courses), 3), "own": own,
        }  # fmt: skip


_MOST_AWAY = 45.0
_HARMLESS: Row = {
    "damage": 0.0, "angle": 0.0, "growth": 0, "base": 0, "set": 0, "electric": 0, "move": 0,
    "agree": 0.0, "flinches": 0, "hits": 0,
}  # fmt: skip
"""Of what no game shows to hit."""


def _hit_of(launched: list[Flown]) -> Row:
    hits = [one.hit for one in launched if one.hit is not None]
    if not hits:
        return dict(_HARMLESS)
    return kind_of_shot(Events({name: np.array([hit[name] for hit in hits]) for name in hits[0]}))


def _launches(flown: list[Flown]) -> Iterator[tuple[float, list[Flown]]]:
    """Ages at which something leaves: the fewest that lie in every launch's last step."""
    left = sorted(flown, key=lambda one: one.age)
    while left:
        age = left[0].age
        here = [one for one in left if one.age_before < age + 1e-3]
        left = [one for one in left if one.age_before >= age + 1e-3]
        if len(here) >= max(_MIN_LAUNCHES, 0.02 * len(flown)):
            yield age, here


def _spread(courses: list[np.ndarray]) -> float:
    """Middle distance of a launch from the row's."""
    starts = np.array([course[0, :2] for course in courses])
    return float(np.median(np.hypot(*(starts - np.median(starts, 0)).T)))


def _flight(launched: list[Flown], courses: list[np.ndarray]) -> Row:
    timers = [int(one.game["i.timer"][one.row["first"], one.row["slot"]]) for one in launched]
    timer, longest = int(np.median(timers)), max(len(course) for course in courses)
    steps = [np.diff(course[:, 2:], axis=0) for course in courses if len(course) > 1]
    changes = np.concatenate(steps) if steps else np.zeros((1, 2))
    gain_x, gain_y = np.median(changes, 0).round(4).tolist()
    return {
        "gain_x": gain_x, "gain_y": gain_y, **_bounce(courses),
        "life": timer if timer < _MOST_TIMER else longest,
    }  # fmt: skip


_MIN_BOUNCES = 3


def _bounce(courses: list[np.ndarray]) -> Row:
    """Shares of the speed that a bounce leaves; 0 for what stays on the ground or ends there."""
    kept: list[np.ndarray] = []
    for course in courses:
        at = np.flatnonzero((course[:-1, 3] < -0.1) & (course[1:, 3] > 0.1))
        across = np.where(course[at, 2] == 0, np.inf, course[at, 2])
        kept += list(np.stack([course[at + 1, 2] / across, -course[at + 1, 3] / course[at, 3]], 1))
    if len(kept) < _MIN_BOUNCES:
        return {"keeps_x": 0.0, "keeps_y": 0.0}
    x, y = np.median(kept, 0).round(2).tolist()
    return {"keeps_x": x, "keeps_y": y}

"""Character state: what a player keeps between actions and no source records.

A stored Charge Shot, needles, a filled bucket, a float that is used up: a frame does not show them,
and a policy's memory begins empty. They are derived here, from the frames up to now alone, by the
same rules for a replay (`character_columns`, whole columns at once) and for a live game or a
simulator (`CharacterTracker`, a frame at a time; a test ties the two together):

- `p.charge`: levels in store, in percent of a full charge. A level more after so many frames of the
  charging loop, hitlag left out; none once the shot has left, after a hit during the move (but at
  Mewtwo's full charge), after a death, after a transformation. A bucket outlives hits and deaths.
- `p.lift_spent`: the float, lift or grapple that comes back on landing was used.
- `p.judge_last`, `p.judge_before`: the last two numbers of Mr. Game & Watch's hammer, neither of
  which comes next.
- `p.special_state`: what an action id says only together with the character.

Each is a small machine: what happened on a frame (`_Charging`, `_Lift`, `_Judge`, from it and the
frame before), and what lasts of that, summed over a game or a frame on. What is held needs no
memory: `exphil_tf.features.item_slots` tells it. Not derived: Kirby's hats and what he charges with
them, Bowser's fire, Peach's Toad and Mario's cape (second lifts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from exphil_tf.features.schema import PLAYERS
from exphil_tf.melee import specials
from exphil_tf.melee.enums import ACTION_COUNT
from exphil_tf.melee.specials import Charge, Role

_JUDGE_COLUMNS = ("p.judge_last", "p.judge_before")
COLUMNS = ("p.charge", "p.lift_spent", *_JUDGE_COLUMNS, "p.special_state")
"""The columns that are made here, uint8."""
SOURCES = (
    "p.character", "p.action", "p.action_frame", "p.percent", "p.hitlag", "p.on_ground",
)  # fmt: skip
"""The columns that they are made from."""
_KEEPS = (
    specials.ROLE_BITS | specials.SPECIAL_BITS << specials.SPECIAL_SHIFT
    | specials.USES_ONCE | specials.GIVES_BACK | specials.JUDGES
)  # fmt: skip
"""Bits of actions that change what is kept, or are told by themselves."""
_SEGMENT = 1 << 32
"""Above any sum of levels, so that no level outlives what empties."""

Columns = Mapping[str, np.ndarray]


class _Rows(NamedTuple):
    """What is read of frames, arrays `[…, players]`."""

    code: np.ndarray
    """uint16: see `specials.action_codes`."""
    character: np.ndarray
    action: np.ndarray
    action_frame: np.ndarray
    percent: np.ndarray
    hitlag: np.ndarray
    on_ground: np.ndarray

    @property
    def role(self) -> np.ndarray:
        """`Role` of each action."""
        return self.code & specials.ROLE_BITS

    @property
    def dies(self) -> np.ndarray:
        """Whether a stock is being lost."""
        return self.action <= specials.LAST_DEAD_ACTION

    @property
    def special(self) -> np.ndarray:
        """`Special` of each action."""
        return self.code >> specials.SPECIAL_SHIFT & specials.SPECIAL_BITS


def character_columns(columns: Columns) -> dict[str, np.ndarray]:
    """Character state of a whole game, or of several of one length.

    Args:
      columns: `SOURCES` within their bounds, `[frames, …, *field.shape]`, from the first frame on.

    Returns: `COLUMNS`, `[frames, …, players]`.
    """
    now = _rows(columns)
    result = {name: np.zeros(now.code.shape, np.uint8) for name in COLUMNS}
    found = int(np.bitwise_or.reduce(now.code, axis=None))  # most characters keep nothing
    if found & specials.ROLE_BITS:
        charging = _charging(now, _Rows(*map(_shifted, _before(now), now)))
        result["p.charge"][...] = _percent(_all_levels(charging, now), charging, now)
    if found & specials.USES_ONCE:
        lift = _lift(now)
        result["p.lift_spent"][...] = _latest(lift.uses) > _latest(lift.restores)
    if found & specials.JUDGES:
        for name, numbers in zip(_JUDGE_COLUMNS, _all_judged(_judge(now)), strict=True):
            result[name][...] = _of_judges(numbers, now)
    if found >> specials.SPECIAL_SHIFT & specials.SPECIAL_BITS:
        result["p.special_state"][...] = now.special
    return result


class CharacterTracker:
    """Character state of a live game, or of games that go on together, a frame at a time.

    On most frames nobody does anything that is kept: then nothing is computed anew (a test holds
    whole games against `character_columns`).
    """

    def __init__(self) -> None:
        self._last: _State | None = None
        self._found: dict[str, np.ndarray] = {}
        self._rests = False

    def step(self, columns: Columns) -> dict[str, np.ndarray]:
        """`COLUMNS`, `[…, players]`, of the next frame; not to be written to.

        Args:
          columns: `SOURCES` of that frame within their bounds, `[…, *field.shape]`.
        """
        if self._rests:
            assert self._last is not None
            before = self._last.rows.character
            if _is_quiet(columns["p.character"], columns["p.action"], before):
                return self._found
        now = _Rows(*(column.copy() for column in _rows(columns)))
        self._last, self._found = _advance(self._last or _first_state(now), now)
        self._rests = not (now.code & _KEEPS).any() and not self._last.spent.any()
        return self._found


class CharacterTrackers:
    """Character state of live games that come and go, each in a row of its own.

    Args:
      rows: games that are kept.
    """

    def __init__(self, rows: int):
        self._rows = rows
        self._kept: _State | None = None
        self._rests = np.zeros(rows, bool)
        self._found = {name: np.zeros((rows, PLAYERS), np.uint8) for name in COLUMNS}

    def step(
        self, columns: Columns, rows: np.ndarray, *, begins: np.ndarray
    ) -> dict[str, np.ndarray]:
        """`COLUMNS`, `[batch, players]`, of the next frame of some games.

        Args:
          columns: `SOURCES` of that frame within their bounds, `[batch, *field.shape]`.
          rows: int `[batch]`: where each game is kept.
          begins: bool `[batch]`: it is the game's first frame.
        """
        if self._rests[rows].all() and not begins.any():
            assert self._kept is not None
            before = self._kept.rows.character[rows]
            if _is_quiet(columns["p.character"], columns["p.action"], before):
                return {name: kept[rows] for name, kept in self._found.items()}
        now = _rows(columns)
        first = _first_state(now)

        def room(values: np.ndarray) -> np.ndarray:
            return np.zeros((self._rows, *values.shape[1:]), values.dtype)

        def taken(new: np.ndarray, kept: np.ndarray) -> np.ndarray:
            return np.where(begins.reshape(-1, *[1] * (new.ndim - 1)), new, kept[rows])

        def put(kept: np.ndarray, new: np.ndarray) -> np.ndarray:
            kept[rows] = new
            return kept

        if self._kept is None:
            self._kept = _each(room, first)
        after, found = _advance(_each(taken, first, self._kept), now)
        self._kept = _each(put, self._kept, after)
        keeps = ((now.code & _KEEPS) != 0) | after.spent
        self._rests[rows] = ~keeps.any(axis=tuple(range(1, keeps.ndim)))
        for name, column in found.items():
            self._found[name][rows] = column
        return found


def _is_quiet(character: np.ndarray, action: np.ndarray, before: np.ndarray) -> bool:
    """Whether a frame changes nothing for those who kept nothing on the frame before.

    Args:
      character: `[…, players]`, as `action`.
      action: of the frame.
      before: characters of the frame before.
    """
    return not (
        (_codes(character, action) & _KEEPS).any()
        or action.min() <= specials.LAST_DEAD_ACTION
        or (character != before).any()
    )


class _State(NamedTuple):
    """What a tracker remembers, arrays `[…, players]`."""

    rows: _Rows
    ticks: np.ndarray
    """Frames since charging began."""
    levels: np.ndarray
    spent: np.ndarray
    judged: tuple[np.ndarray, np.ndarray]


def _each(rule: Callable[..., np.ndarray], *states: _State) -> _State:
    """A state of what a rule makes of each array of some states."""
    rows = _Rows(*map(rule, *(state.rows for state in states)))
    ticks, levels, spent = (
        rule(*(getattr(state, name) for state in states)) for name in ("ticks", "levels", "spent")
    )
    one, two = map(rule, *(state.judged for state in states))
    return _State(rows, ticks, levels, spent, (one, two))


def _advance(last: _State, now: _Rows) -> tuple[_State, dict[str, np.ndarray]]:
    """The state after a frame, and the columns of that frame."""
    charging, lift = _charging(now, last.rows), _lift(now)
    ticks, levels = _next_levels(last.ticks, last.levels, charging=charging, now=now)
    spent = (last.spent | lift.uses) & ~lift.restores
    judged = _next_judged(last.judged, _judge(now))
    values = [_percent(levels, charging, now), spent]
    values += [*(_of_judges(number, now) for number in judged), now.special]
    columns = {n: v.astype(np.uint8) for n, v in zip(COLUMNS, values, strict=True)}
    return _State(now, ticks, levels, spent, judged), columns


def _first_state(now: _Rows) -> _State:
    zero = np.zeros(now.code.shape, np.int64)
    last, before = specials.FIRST_JUDGE
    return _State(_before(now), zero, zero, zero != 0, (zero + last, zero + before))


def _rows(columns: Columns) -> _Rows:
    rows = _Rows(*(np.asarray(columns[f"p.{name}"]) for name in ("action", *_Rows._fields[1:])))
    return rows._replace(code=_codes(rows.character, rows.action))


def _codes(character: np.ndarray, action: np.ndarray) -> np.ndarray:
    return specials.action_codes()[character.astype(np.int32) * ACTION_COUNT + action]


def _before(first: _Rows) -> _Rows:
    """A frame before the first, on which nothing was done."""
    return first._replace(code=first.code * 0, hitlag=first.hitlag * 0)


def _shifted(before: np.ndarray, column: np.ndarray) -> np.ndarray:
    return np.concatenate([before[:1], column[:-1]])


def _latest(flags: np.ndarray) -> np.ndarray:
    """int64 `[frames, …]`: index of the last frame up to each with the flag set; -1 before."""
    index = np.arange(len(flags)).reshape(-1, *[1] * (flags.ndim - 1))
    return np.maximum.accumulate(np.where(flags, index, -1), axis=0)


# -- Charge ----------------------------------------------------------------------------------------


class _Charging(NamedTuple):
    """What happened to charges, arrays `[…, players]`; flags unless said otherwise."""

    enters: np.ndarray
    """Begins to charge."""
    ticks: np.ndarray
    """Charged for one frame more."""
    catches: np.ndarray
    """Gains a level at once."""
    empties: np.ndarray
    at_least: np.ndarray
    """int64: levels that the action has."""
    left: np.ndarray
    """int64: levels that left by the action so far."""


def _charge(name: str, character: np.ndarray) -> np.ndarray:
    """int64 `[…, players]`: a fact of `Charge` of each."""
    return specials.charge_table()[:, Charge._fields.index(name)][character]


def _charging(now: _Rows, before: _Rows) -> _Charging:
    role, was = now.role, before.role
    again = now.action_frame < before.action_frame
    return _Charging(
        enters=(role == Role.LOOP) & (was != Role.LOOP),
        # In hitlag, but for its last frame, no time passes.
        ticks=(was == Role.LOOP) & (before.hitlag <= 1),
        catches=(role == Role.CATCH) & ((was != Role.CATCH) | again),
        empties=_empties(now, before),
        at_least=np.where(role == Role.START, _charge("at_start", now.character), 0)
        + np.where(role == Role.FULL, _charge("levels", now.character), 0),
        left=np.where(role == Role.RELEASE, _left(now), 0),
    )


def _empties(now: _Rows, before: _Rows) -> np.ndarray:
    role, was = now.role, before.role
    # A hit that does not interrupt, as of a laser, takes nothing away.
    interrupted = (was != Role.NONE) & (was != Role.FULL) & (role == Role.NONE)
    hit = interrupted & (now.percent > before.percent)
    hit &= _charge("lost_by_hit", now.character) != 0
    over = (was == Role.RELEASE) & (role != Role.RELEASE)
    lost = now.dies & (_charge("lost_by_death", now.character) != 0)
    return hit | over | lost | (now.character != before.character)


def _left(now: _Rows) -> np.ndarray:
    """int64: levels that a release has let go by its current frame."""
    first, every = (_charge(name, now.character) for name in ("first", "every"))
    since = now.action_frame - first
    one_by_one = 1 + since // np.maximum(every, 1)
    at_once = _charge("levels", now.character)
    return np.where(since < 0, 0, np.where(every > 0, one_by_one, at_once))


def _gains(ticks: np.ndarray, charging: _Charging, now: _Rows) -> np.ndarray:
    """Flags of frames that bring a level, from the frames since charging began."""
    is_due = ticks % _charge("period", now.character) == 0
    return charging.catches | (charging.ticks & is_due)


def _next_levels(
    ticks: np.ndarray, levels: np.ndarray, *, charging: _Charging, now: _Rows
) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and levels one frame on."""
    ticks = np.where(charging.enters, 0, ticks) + charging.ticks
    levels = levels + _gains(ticks, charging, now)
    levels = np.minimum(levels, _charge("levels", now.character))
    return ticks, np.maximum(np.where(charging.empties, 0, levels), charging.at_least)


def _all_levels(charging: _Charging, now: _Rows) -> np.ndarray:
    """The levels after each frame, int64 `[frames, …, players]`."""
    count = np.cumsum(charging.ticks, axis=0)
    ticks = count - np.maximum.accumulate(np.where(charging.enters, count, 0), axis=0)
    gains = np.cumsum(_gains(ticks, charging, now) & ~charging.empties, axis=0)
    # Levels only rise between two frames that empty, so the highest of what each frame left counts.
    segment = np.cumsum(charging.empties, axis=0) * _SEGMENT
    highest = np.maximum.accumulate(segment + charging.at_least - gains, axis=0)
    return np.minimum(highest - segment + gains, _charge("levels", now.character))


def _percent(levels: np.ndarray, charging: _Charging, now: _Rows) -> np.ndarray:
    most = _charge("levels", now.character)
    stored = np.maximum(levels - charging.left, 0)
    return (100 * stored + most // 2) // np.maximum(most, 1)


# -- Lifts -----------------------------------------------------------------------------------------


class _Lift(NamedTuple):
    """Flags `[…, players]`: a lift is used, or comes back; never both."""

    uses: np.ndarray
    restores: np.ndarray


def _lift(now: _Rows) -> _Lift:
    landed = (now.on_ground != 0) & ~specials.keeps_until_cyclone()[now.character]
    restores = now.dies | landed | (now.code & specials.GIVES_BACK != 0)
    uses = (now.code & specials.USES_ONCE != 0) & (now.on_ground == 0)
    return _Lift(uses & ~restores, restores)


# -- Judge -----------------------------------------------------------------------------------------


class _Judge(NamedTuple):
    """What Judge shows, arrays `[…, players]`."""

    number: np.ndarray
    """1 to 9; 0 for nothing."""
    dies: np.ndarray


def _judge(now: _Rows) -> _Judge:
    return _Judge((now.code >> specials.JUDGE_SHIFT).astype(np.int64), now.dies)


def _of_judges(numbers: np.ndarray, now: _Rows) -> np.ndarray:
    return np.where(now.code & specials.JUDGES, numbers, 0)


def _next_judged(
    judged: tuple[np.ndarray, np.ndarray], judge: _Judge
) -> tuple[np.ndarray, np.ndarray]:
    """The last number and the one before it, one frame on."""
    first, second = specials.FIRST_JUDGE
    is_new = (judge.number > 0) & (judge.number != judged[0])
    last = np.where(is_new, judge.number, judged[0])
    before = np.where(is_new, judged[0], judged[1])
    return np.where(judge.dies, first, last), np.where(judge.dies, second, before)


def _all_judged(judge: _Judge) -> tuple[np.ndarray, np.ndarray]:
    """The same after each frame, `[frames, …, players]`."""
    first, second = specials.FIRST_JUDGE
    shows = judge.dies | (judge.number > 0)
    last = _at_latest(shows, np.where(judge.dies, first, judge.number), first)
    earlier = np.concatenate([np.full_like(last[:1], first), last[:-1]])
    is_new = judge.dies | (shows & (last != earlier))
    return last, _at_latest(is_new, np.where(judge.dies, second, earlier), second)


def _at_latest(flags: np.ndarray, values: np.ndarray, start: int) -> np.ndarray:
    """The values of the last frames with the flag set; `start` before."""
    index = _latest(flags)
    held = np.take_along_axis(values, np.maximum(index, 0), axis=0)
    return np.where(index < 0, start, held)

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

`_compare` holds a frame against the one before it and says what happened to each player; what
lasts is summed from that, over a game or in the tracker's state. What is held is no matter of
memory: `exphil_tf.features.item_slots` tells it. Not derived: Kirby's hats and what he charges with
them, Bowser's fire, Peach's Toad and Mario's cape (second lifts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from exphil_tf.melee import specials
from exphil_tf.melee.enums import ACTION_COUNT
from exphil_tf.melee.specials import Charge, Role

COLUMNS = ("p.charge", "p.lift_spent", "p.judge_last", "p.judge_before", "p.special_state")
"""The columns that are made here, uint8."""
SOURCES = (
    "p.character", "p.action", "p.action_frame", "p.percent", "p.hitlag", "p.on_ground",
)  # fmt: skip
"""The columns that they are made from."""
_SEGMENT = 1 << 32
"""Above any sum of levels, so that no level outlives what empties."""

Columns = Mapping[str, np.ndarray]


class _Rows(NamedTuple):
    """What is compared of frames, arrays `[…, players]`."""

    code: np.ndarray
    character: np.ndarray
    action: np.ndarray
    action_frame: np.ndarray
    percent: np.ndarray
    hitlag: np.ndarray
    on_ground: np.ndarray


class _Events(NamedTuple):
    """What happened on frames, arrays `[…, players]`; flags unless said otherwise."""

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
    dies: np.ndarray
    uses: np.ndarray
    """Uses its lift."""
    restores: np.ndarray
    """Gets it back."""
    judge: np.ndarray
    """uint16: the number that Judge shows; 0 for none."""


class _State(NamedTuple):
    """What lasts, arrays `[…, players]`."""

    ticks: np.ndarray
    """int64: frames since charging began."""
    levels: np.ndarray
    spent: np.ndarray
    judge_last: np.ndarray
    judge_before: np.ndarray


def character_columns(columns: Columns) -> dict[str, np.ndarray]:
    """Character state of a whole game, or of several of one length.

    Args:
      columns: `SOURCES`, `[frames, …, *field.shape]`, from the first frame on.

    Returns: `COLUMNS`, `[frames, …, players]`.
    """
    shape = columns["p.character"].shape
    result = {name: np.zeros(shape, np.uint8) for name in COLUMNS}
    code = _codes(columns)
    if code.any():  # most characters keep nothing
        now = _rows(columns, code)
        happened = _compare(now, _Rows(*map(_shifted, _before(now), now)))
        for name, value in _shown(_summed(happened, now), happened, now).items():
            result[name][...] = value
    return result


class CharacterTracker:
    """Character state of a live game, or of games that go on together, a frame at a time."""

    def __init__(self) -> None:
        self._last: tuple[_Rows, _State] | None = None

    def step(self, columns: Columns) -> dict[str, np.ndarray]:
        """`COLUMNS`, `[…, players]`, of the next frame.

        Args:
          columns: `SOURCES` of that frame, `[…, *field.shape]`.
        """
        now = _rows(columns, _codes(columns))
        before, state = self._last or (_before(now), _first_state(now))
        happened = _compare(now, before)
        state = _advanced(state, happened, now)
        self._last = now, state
        shown = _shown(state, happened, now)
        return {name: np.asarray(value).astype(np.uint8) for name, value in shown.items()}


def _codes(columns: Columns) -> np.ndarray:
    """uint16 `[…, players]`: see `specials.action_codes`."""
    character = np.minimum(columns["p.character"], specials.CHARACTERS - 1).astype(np.int32)
    return specials.action_codes()[
        character * ACTION_COUNT + np.minimum(columns["p.action"], ACTION_COUNT - 1)
    ]


def _rows(columns: Columns, code: np.ndarray) -> _Rows:
    names = _Rows._fields[1:]
    rows = _Rows(code, *(np.asarray(columns[f"p.{name}"]).copy() for name in names))
    return rows._replace(character=np.minimum(rows.character, specials.CHARACTERS - 1))


def _before(first: _Rows) -> _Rows:
    """A frame before the first, on which nothing was done."""
    return first._replace(code=first.code * 0, hitlag=first.hitlag * 0)


def _shifted(before: np.ndarray, column: np.ndarray) -> np.ndarray:
    return np.concatenate([before[:1], column[:-1]])


def _charge(name: str, character: np.ndarray) -> np.ndarray:
    """int64 `[…, players]`: a fact of `Charge` of each."""
    return specials.charge_table()[:, Charge._fields.index(name)][character]


def _compare(now: _Rows, before: _Rows) -> _Events:
    """What happened between two frames, elementwise."""
    role, was = now.code & specials.ROLE_BITS, before.code & specials.ROLE_BITS
    dies = now.action <= specials.LAST_DEAD_ACTION
    return _Events(
        enters=(role == Role.LOOP) & (was != Role.LOOP),
        # In hitlag, but for its last frame, no time passes.
        ticks=(was == Role.LOOP) & (before.hitlag <= 1),
        catches=(role == Role.CATCH)
        & ((was != Role.CATCH) | (now.action_frame < before.action_frame)),
        empties=_empties(now, before, dies),
        at_least=np.where(role == Role.START, _charge("at_start", now.character), 0)
        + np.where(role == Role.FULL, _charge("levels", now.character), 0),
        left=np.where(role == Role.RELEASE, _left(now), 0),
        dies=dies,
        uses=(now.code & specials.USES_ONCE != 0) & (now.on_ground == 0),
        restores=dies
        | (now.code & specials.GIVES_BACK != 0)
        | ((now.on_ground != 0) & ~specials.keeps_until_cyclone()[now.character]),
        judge=now.code >> specials.JUDGE_SHIFT,
    )


def _empties(now: _Rows, before: _Rows, dies: np.ndarray) -> np.ndarray:
    role, was = now.code & specials.ROLE_BITS, before.code & specials.ROLE_BITS
    # A hit that does not interrupt, as of a laser, takes nothing away.
    interrupted = (was != Role.NONE) & (was != Role.FULL) & (role == Role.NONE)
    hit = interrupted & (now.percent > before.percent)
    hit &= _charge("lost_by_hit", now.character) != 0
    over = (was == Role.RELEASE) & (role != Role.RELEASE)
    lost = dies & (_charge("lost_by_death", now.character) != 0)
    return hit | over | lost | (now.character != before.character)


def _left(now: _Rows) -> np.ndarray:
    """int64: levels that a release has let go by its current frame."""
    first, every = (_charge(name, now.character) for name in ("first", "every"))
    since = now.action_frame - first
    one_by_one = 1 + since // np.maximum(every, 1)
    return np.where(since < 0, 0, np.where(every > 0, one_by_one, _charge("levels", now.character)))


def _shown(state: _State, happened: _Events, now: _Rows) -> dict[str, np.ndarray]:
    """Columns of what lasts and of what an action says."""
    most = _charge("levels", now.character)
    stored = np.maximum(state.levels - happened.left, 0)
    judges = now.code & specials.JUDGES != 0
    return {
        "p.charge": (100 * stored + most // 2) // np.maximum(most, 1),
        "p.lift_spent": state.spent,
        "p.judge_last": np.where(judges, state.judge_last, 0),
        "p.judge_before": np.where(judges, state.judge_before, 0),
        "p.special_state": now.code >> specials.SPECIAL_SHIFT & specials.SPECIAL_BITS,
    }


def _first_state(now: _Rows) -> _State:
    zero = np.zeros(now.code.shape, np.int64)
    last, before = specials.FIRST_JUDGE
    return _State(zero, zero, zero != 0, zero + last, zero + before)


def _advanced(state: _State, happened: _Events, now: _Rows) -> _State:
    """The state one frame on; `_summed` is the same over a game."""
    ticks = np.where(happened.enters, 0, state.ticks) + happened.ticks
    levels = state.levels + _gains(ticks, happened, now)
    levels = np.minimum(levels, _charge("levels", now.character))
    levels = np.maximum(np.where(happened.empties, 0, levels), happened.at_least)
    spent = (state.spent | happened.uses) & ~happened.restores
    numbers = specials.FIRST_JUDGE
    is_new = (happened.judge > 0) & (happened.judge != state.judge_last)
    last = np.where(happened.dies, numbers[0], np.where(is_new, happened.judge, state.judge_last))
    kept = np.where(is_new, state.judge_last, state.judge_before)
    return _State(ticks, levels, spent, last, np.where(happened.dies, numbers[1], kept))


def _gains(ticks: np.ndarray, happened: _Events, now: _Rows) -> np.ndarray:
    """Flags of frames that bring a level, from the frames since charging began."""
    is_due = ticks % _charge("period", now.character) == 0
    return happened.catches | (happened.ticks & is_due)


def _summed(happened: _Events, now: _Rows) -> _State:
    """The states after each frame, `[frames, …, players]`."""
    count = np.cumsum(happened.ticks, axis=0)
    ticks = count - np.maximum.accumulate(np.where(happened.enters, count, 0), axis=0)
    gains = np.cumsum(_gains(ticks, happened, now) & ~happened.empties, axis=0)
    # Levels only rise between two frames that empty, so the highest of what each frame left counts.
    segment = np.cumsum(happened.empties, axis=0) * _SEGMENT
    highest = np.maximum.accumulate(segment + happened.at_least - gains, axis=0)
    levels = np.minimum(highest - segment + gains, _charge("levels", now.character))
    used = _latest(happened.uses & ~happened.restores)
    return _State(ticks, levels, used > _latest(happened.restores), *_judged(happened))


def _latest(flags: np.ndarray) -> np.ndarray:
    """int64 `[frames, …]`: index of the last frame up to each with the flag set; -1 before."""
    index = np.arange(len(flags)).reshape(-1, *[1] * (flags.ndim - 1))
    return np.maximum.accumulate(np.where(flags, index, -1), axis=0)


def _judged(happened: _Events) -> tuple[np.ndarray, np.ndarray]:
    """The last number and the one before it, `[frames, …, players]`."""
    first, second = specials.FIRST_JUDGE
    shows = happened.dies | (happened.judge > 0)
    last = _at_latest(shows, np.where(happened.dies, first, happened.judge), first)
    earlier = np.concatenate([np.full_like(last[:1], first), last[:-1]])
    is_new = happened.dies | (shows & (last != earlier))
    return last, _at_latest(is_new, np.where(happened.dies, second, earlier), second)


def _at_latest(flags: np.ndarray, values: np.ndarray, start: int) -> np.ndarray:
    """The values of the last frames with the flag set; `start` before."""
    index = _latest(flags)
    held = np.take_along_axis(values, np.maximum(index, 0), axis=0)
    return np.where(index < 0, start, held)

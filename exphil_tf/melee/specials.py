"""What special moves keep between actions, as tables by internal character and action id.

Which actions charge a move, release it or fill a bucket; how many frames a level takes; which
actions use what comes back on landing only; which item states mean "in a hand". Ids, rules and
counts are the game's own (doldecomp/melee, the characters' `SpecialN` … files and motion tables);
`exphil_tf.features.character_state` says how they become columns. Held against 65 real games: the
charge that Slippi records of Samus's and Mewtwo's shots (2,168 of 2,168 frames, 26 of 26 shots),
needles that fly after a volley (86 of 88), numbers of Judge (17 of 17 not among the last two).
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from exphil_tf.melee.enums import ACTION_COUNT, Character

LAST_DEAD_ACTION = 10
"""Actions up to this are deaths; what a stock held is gone."""
CHARACTERS = 33
"""Rows of tables by character; ids outside the roster have no special moves."""


class Role(IntEnum):
    """What an action does to a move that is kept charged."""

    NONE = 0
    START = 1
    LOOP = 2
    """A level is gained every `Charge.period` frames."""
    FULL = 3
    """Holds a full charge, which a hit does not take away."""
    CANCEL = 4
    RELEASE = 5
    CATCH = 6
    """Begun, it gains a level."""


class Charge(NamedTuple):
    """A move that is kept charged.

    Attributes:
      levels: at full charge.
      period: frames of `Role.LOOP` a level.
      at_start: levels that `Role.START` gives if there were none.
      first: frame of `Role.RELEASE` on which the first level leaves.
      every: frames between levels that leave; 0 if all leave at once.
      lost_by_hit: being hit in any action of the move empties it.
      lost_by_death: so does a death.
    """

    levels: int
    period: int = 1
    at_start: int = 0
    first: int = 1
    every: int = 0
    lost_by_hit: bool = True
    lost_by_death: bool = True


CHARGES: dict[Character, Charge] = {
    Character.SAMUS: Charge(7, period=17, first=2),
    Character.DK: Charge(10, period=12),
    Character.SHEIK: Charge(6, period=18, at_start=1, first=4, every=3),
    Character.MEWTWO: Charge(7, period=17, first=9),
    Character.GAMEANDWATCH: Charge(3, lost_by_hit=False, lost_by_death=False),
}
"""Charge Shot, Giant Punch (swings), Needle Storm (needles), Shadow Ball, Oil Panic (fills)."""
_ROLES: dict[Character, dict[Role, tuple[int, ...]]] = {
    Character.SAMUS: {
        Role.START: (343, 347), Role.LOOP: (344,), Role.CANCEL: (345,), Role.RELEASE: (346, 348),
    },
    Character.DK: {
        Role.START: (369, 374), Role.LOOP: (370, 375), Role.CANCEL: (371, 376),
        Role.RELEASE: (372, 373, 377, 378),
    },
    Character.SHEIK: {
        Role.START: (341, 345), Role.LOOP: (342, 346), Role.CANCEL: (343, 347),
        Role.RELEASE: (344, 348),
    },
    Character.MEWTWO: {
        Role.START: (341, 346), Role.LOOP: (342, 347), Role.FULL: (343, 348),
        Role.CANCEL: (344, 349), Role.RELEASE: (345, 350),
    },
    Character.GAMEANDWATCH: {Role.CATCH: (376, 379), Role.RELEASE: (377, 380)},
}  # fmt: skip


class Special(IntEnum):
    """What an action id says only together with the character."""

    NONE = 0
    TELEPORTING = 1
    """Gone between two places."""
    TETHERED = 2
    """A grapple in the air: thrown out, or hanging from it."""
    TRANSFORMING = 3


_SPECIALS: dict[Character, dict[Special, tuple[int, ...]]] = {
    Character.MEWTWO: {Special.TELEPORTING: (354, 357)},
    Character.SHEIK: {
        Special.TELEPORTING: (356, 359), Special.TRANSFORMING: (361, 362, 363, 364),
    },
    Character.ZELDA: {
        Special.TELEPORTING: (350, 353), Special.TRANSFORMING: (355, 356, 357, 358),
    },
    Character.SAMUS: {Special.TETHERED: (357, 358)},
    Character.LINK: {Special.TETHERED: (360, 361)},
    Character.YLINK: {Special.TETHERED: (360, 361)},
}  # fmt: skip
_ONCE_AIRBORNE: dict[Character, tuple[int, ...]] = {
    Character.PEACH: (341,),
    Character.MARIO: (350,),
    Character.DOC: (350,),
    Character.LUIGI: (358,),
    Character.MARTH: (358,),
    Character.ROY: (358,),
    Character.MEWTWO: (352,),
    Character.GAMEANDWATCH: tuple(range(364, 373)),
    Character.KIRBY: (384,),
    Character.POPO: (342,),
    Character.NANA: (342,),
    Character.SAMUS: (357,),
    Character.LINK: (360,),
    Character.YLINK: (360,),
}
"""Actions that float, lift or grapple only once until the character lands: Peach's float, the
tornadoes, Dancing Blade, Confusion, Judge, Kirby's hammer, Ice Shot, the grapples."""
_CYCLONE = {Character.LUIGI: (357,)}
"""What alone gives Luigi's lift back: a cyclone on the ground."""
_JUDGE = {Character.GAMEANDWATCH: (355, 364)}
"""First of the nine actions of Judge, on the ground and in the air."""

ROLE_BITS, SPECIAL_SHIFT, SPECIAL_BITS, JUDGE_SHIFT = 7, 3, 3, 8
USES_ONCE, GIVES_BACK, JUDGES = 1 << 5, 1 << 6, 1 << 7
"""Bits of `action_codes`; the last is set for all actions of who has Judge."""


@functools.cache
def action_codes() -> np.ndarray:
    """uint16 `[CHARACTERS * ACTION_COUNT]`, at `character * ACTION_COUNT + action`.

    From the lowest bit on: `Role` (3 bits), `Special` (2), `USES_ONCE`, `GIVES_BACK`, `JUDGES`, and
    from `JUDGE_SHIFT` on the number that Judge shows (1 to 9).
    """
    codes = np.zeros((CHARACTERS, ACTION_COUNT), np.uint16)
    for character, roles in _ROLES.items():
        for role, actions in roles.items():
            codes[character, list(actions)] |= np.uint16(role)
    for character, specials in _SPECIALS.items():
        for special, actions in specials.items():
            codes[character, list(actions)] |= np.uint16(special << SPECIAL_SHIFT)
    for bit, table in ((USES_ONCE, _ONCE_AIRBORNE), (GIVES_BACK, _CYCLONE)):
        for character, actions in table.items():
            codes[character, list(actions)] |= np.uint16(bit)
    for character, firsts in _JUDGE.items():
        codes[character] |= np.uint16(JUDGES)
        for number in range(1, 10):
            codes[character, [first + number - 1 for first in firsts]] |= np.uint16(
                number << JUDGE_SHIFT
            )
    codes = codes.reshape(-1)
    codes.setflags(write=False)
    return codes


@functools.cache
def charge_table() -> np.ndarray:
    """int64 `[CHARACTERS, 7]`: the values of `Charge` by character; no levels for the others."""
    table = np.zeros((CHARACTERS, len(Charge._fields)), np.int64)
    table[:] = Charge(0)
    for character, charge in CHARGES.items():
        table[character] = charge
    table.setflags(write=False)
    return table


@functools.cache
def keeps_until_cyclone() -> np.ndarray:
    """Bool `[CHARACTERS]`: landing does not give back what is used once."""
    return np.isin(np.arange(CHARACTERS), list(_CYCLONE))


FIRST_JUDGE = (2, 1)
"""Judge shows none of its last two numbers again; these count as the last ones of a new stock."""


class Held(IntEnum):
    """Kinds of items in a hand."""

    NOTHING = 0
    TURNIP = 1
    BOMB = 2
    """Of Link or Young Link, which goes off in time; or a Bob-omb."""
    OTHER = 3


_HELD_STATES: dict[int, tuple[Held, tuple[int, ...]]] = {
    6: (Held.BOMB, (7, 8)),
    7: (Held.OTHER, (4,)),
    12: (Held.OTHER, (2,)),
    58: (Held.BOMB, (0,)),
    59: (Held.BOMB, (0,)),
    99: (Held.TURNIP, (0, 4)),
}
"""Item type → its kind, and the states in which it is in a hand: Bob-omb, Mr. Saturn, beam sword,
the Links' bombs, turnip (just pulled, and caught)."""
HELD_TYPES, HELD_STATES = 128, 16


@functools.cache
def held_table() -> np.ndarray:
    """uint8 `[HELD_TYPES * HELD_STATES]`: `Held`, at `type * HELD_STATES + state`; row 0 is none.

    Larger types and states are in no hand.
    """
    table = np.zeros((HELD_TYPES, HELD_STATES), np.uint8)
    for kind, (held, states) in _HELD_STATES.items():
        table[kind, list(states)] = held
    table = table.reshape(-1)
    table.setflags(write=False)
    return table

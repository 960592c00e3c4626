"""Shaped rewards of single characters: what they alone can do, and what they alone must not.

Each term is 0 for anybody else, so that a table may hold them all. Action ids are the game's, by
internal character (`melee.specials` says where from); arguments as in `shaped`.
"""

from __future__ import annotations

import numpy as np

from exphil_tf.melee.enums import Character
from exphil_tf.melee.specials import Held, Special
from exphil_tf.rewards.shaped import edge_guard, hit, off_stage
from exphil_tf.rewards.terms import OPPONENT, OWN, Columns

CONFUSION = (351, 352)
"""Mewtwo's, on the ground and in the air."""
GONE_FROM_AIR = 357
"""Mewtwo's teleport, between where it began in the air and where it ends."""
FAIR, BAIR, DAIR = 66, 67, 69
JUDGE = (355, 372)
"""First and last action of Mr. Game & Watch's hammer."""
DINS_FIRE = (343, 348)
"""First and last action of Zelda's flame, on the ground and in the air."""
TAIL_UNITS = (8.0, 30.0)
ZONE_UNITS = 40.0
BAND_UNITS = (14.0, 30.0)
"""Where Ganondorf's tilts and aerials reach and most others' do not, in game units."""
SWEET_PERCENT = 15.0
"""A Lightning Kick hits for 20 when fresh and 8 beside the toe: in between lies what staleness
leaves of a clean one."""
SAFE_UNITS = 60.0


def mewtwo_teleport(before: Columns, after: Columns) -> np.ndarray:
    """1 where a teleport from the air ends on the ground, -1 where it ends off stage."""
    was_gone = before["p.action"][..., OWN] == GONE_FROM_AIR
    is_back = was_gone & (_special(after) != Special.TELEPORTING)
    lands = is_back & (after["p.on_ground"][..., OWN] > 0)
    misses = is_back & off_stage(after)[..., OWN]
    return _of(Character.MEWTWO, after, lands.astype(np.float32) - misses)


def mewtwo_tail(before: Columns, after: Columns) -> np.ndarray:
    """-1 where Mewtwo is hit from behind at the reach of its tail, which can be hurt."""
    ahead = _ahead(before)
    behind = (ahead < -TAIL_UNITS[0]) & (ahead > -TAIL_UNITS[1])
    return _of(Character.MEWTWO, after, -(behind & hit(before, after)[..., OWN]).astype(np.float32))


def mewtwo_confusion(before: Columns, after: Columns) -> np.ndarray:
    """1 where Confusion catches the opponent, whom a combo can follow."""
    uses = _acts(before, CONFUSION[0], CONFUSION[-1])
    return _of(Character.MEWTWO, after, uses & hit(before, after)[..., OPPONENT])


def gameandwatch_bucket(before: Columns, after: Columns) -> np.ndarray:
    """1 where Oil Panic takes a projectile in."""
    charge = [c["p.charge"][..., OWN].astype(np.int64) for c in (before, after)]
    return _of(Character.GAMEANDWATCH, after, charge[1] > charge[0])


def gameandwatch_hammer(before: Columns, after: Columns) -> np.ndarray:
    """Number of the hammer / 9 where it hits."""
    hits = _acts(after, *JUDGE) & hit(before, after)[..., OPPONENT]
    number = after["p.judge_last"][..., OWN].astype(np.float32) / 9
    return _of(Character.GAMEANDWATCH, after, hits * number)


def link_bomb(before: Columns, after: Columns) -> np.ndarray:
    """-1 where a bomb goes off in the own hand."""
    held = before["p.held_item"][..., OWN] == Held.BOMB
    gone = after["p.held_item"][..., OWN] != Held.BOMB
    soon = before["p.held_frames"][..., OWN] <= 1
    own = hit(before, after)[..., OWN]
    return _of(Character.LINK, after, -(held & gone & soon & own).astype(np.float32))


def link_zoning(before: Columns, after: Columns) -> np.ndarray:
    """1 where the opponent is hit from afar."""
    far = np.abs(_ahead(before)) > ZONE_UNITS
    return _of(Character.LINK, after, far & hit(before, after)[..., OPPONENT])


def link_tether(before: Columns, after: Columns) -> np.ndarray:
    """1 where the grapple is thrown out off stage, which is how Link comes home."""
    begins = (_special(before) != Special.TETHERED) & (_special(after) == Special.TETHERED)
    return _of(Character.LINK, after, begins & off_stage(after)[..., OWN])


def ganondorf_spacing(before: Columns, after: Columns) -> np.ndarray:
    """1 on frames that the opponent is before him where he reaches and most others do not."""
    del before
    ahead = _ahead(after)
    return _of(Character.GANONDORF, after, (ahead >= BAND_UNITS[0]) & (ahead <= BAND_UNITS[1]))


def ganondorf_stomp(before: Columns, after: Columns) -> np.ndarray:
    """1 where the stomp hits, 2 where it hits somebody who is still in hitstun."""
    hits = _acts(after, DAIR, DAIR) & hit(before, after)[..., OPPONENT]
    again = before["p.hitstun"][..., OPPONENT] > 0
    return _of(Character.GANONDORF, after, hits * (1.0 + again))


def ganondorf_edge_guard(before: Columns, after: Columns) -> np.ndarray:
    """`edge_guard` once more: two hits off stage end most stocks."""
    return _of(Character.GANONDORF, after, edge_guard(before, after))


def zelda_lightning_kick(before: Columns, after: Columns) -> np.ndarray:
    """1 where the toe of a forward or backward aerial hits, -0.2 where the rest of it does."""
    kicks = _acts(after, FAIR, BAIR) & hit(before, after)[..., OPPONENT]
    dealt = (after["p.percent"] - before["p.percent"])[..., OPPONENT]
    return _of(Character.ZELDA, after, kicks * np.where(dealt >= SWEET_PERCENT, 1.0, -0.2))


def zelda_transform(before: Columns, after: Columns) -> np.ndarray:
    """1 where a transformation begins in safety: far away, or while the opponent cannot act.

    -1 where it does not. Sheik's counts alike.
    """
    begins = (_special(before) != Special.TRANSFORMING) & (_special(after) == Special.TRANSFORMING)
    helpless = (after["p.hitstun"][..., OPPONENT] > 0) | (after["p.action"][..., OPPONENT] <= 13)
    safe = helpless | (np.abs(_ahead(after)) > SAFE_UNITS)
    value = begins * np.where(safe, 1.0, -1.0)
    either = _of(Character.ZELDA, after, value) + _of(Character.SHEIK, after, value)
    return either.astype(np.float32)


def zelda_dins_fire(before: Columns, after: Columns) -> np.ndarray:
    """1 where the flame hits while she still steers it."""
    hits = _acts(before, *DINS_FIRE) & hit(before, after)[..., OPPONENT]
    return _of(Character.ZELDA, after, hits)


def _of(character: Character, columns: Columns, value: np.ndarray) -> np.ndarray:
    """The value where the own player is that character, else 0."""
    return np.where(columns["p.character"][..., OWN] == character, value, 0).astype(np.float32)


def _acts(columns: Columns, first: int, last: int) -> np.ndarray:
    action = columns["p.action"][..., OWN]
    return (action >= first) & (action <= last)


def _special(columns: Columns) -> np.ndarray:
    return columns["p.special_state"][..., OWN]


def _ahead(columns: Columns) -> np.ndarray:
    """Units that the opponent is before the own player; negative behind."""
    facing = columns["p.facing"][..., OWN].astype(np.float32) * 2 - 1
    return (columns["p.x"][..., OPPONENT] - columns["p.x"][..., OWN]) * facing

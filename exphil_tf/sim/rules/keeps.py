"""What a player keeps between actions: charges, lifts that are used up, numbers of the hammer.

The rules of `exphil_tf.features.character_state`, for one player; a test ties the two together.
"""

from exphil_tf.melee import specials
from exphil_tf.sim.compiled import rule

_NONE, _START, _LOOP, _FULL, _RELEASE, _CATCH = (
    int(specials.Role[name]) for name in ("NONE", "START", "LOOP", "FULL", "RELEASE", "CATCH")
)
_ROLE_BITS, _JUDGE_SHIFT, _JUDGES = specials.ROLE_BITS, specials.JUDGE_SHIFT, specials.JUDGES
_USES_ONCE, _GIVES_BACK = specials.USES_ONCE, specials.GIVES_BACK
_LAST_DEAD, (_FIRST_LAST, _FIRST_BEFORE) = specials.LAST_DEAD_ACTION, specials.FIRST_JUDGE


@rule
def counted_frame(p, tables):
    """The frame of an action as replays and libmelee count it."""
    return int(p.age) + tables.counts_from_zero[p.character, p.action]


@rule
def remember(p, tables):
    """Takes a frame into account that has been played."""
    code = int(tables.codes[p.character, p.action])
    frame = counted_frame(p, tables)
    dies = p.action <= _LAST_DEAD
    charge = tables.charges[p.character]
    if charge.levels > 0 or p.levels > 0:
        _charge(p, charge, code, frame)
    else:
        p.charge = 0
    _lift(p, code, dies, tables.keeps_lift[p.character])
    if dies or code >> _JUDGE_SHIFT > 0:
        _judge(p, code >> _JUDGE_SHIFT, dies)
    p.was_code = code
    p.was_frame = frame
    p.was_hitlag = int(p.hitlag)
    p.was_character = p.character
    p.was_percent = p.percent


@rule
def _charge(p, charge, code, frame):
    role = code & _ROLE_BITS
    was = int(p.was_code) & _ROLE_BITS
    ticks = was == _LOOP and p.was_hitlag <= 1
    if role == _LOOP and was != _LOOP:
        p.ticks = 0
    p.ticks += ticks
    levels = int(p.levels)
    catches = role == _CATCH and (was != _CATCH or frame < p.was_frame)
    if catches or (ticks and p.ticks % charge.period == 0):
        levels += 1
    levels = min(levels, charge.levels)
    if _empties(p, charge, role, was):
        levels = 0
    if role == _START:
        levels = max(levels, charge.at_start)
    elif role == _FULL:
        levels = charge.levels
    p.levels = levels
    left = _left(charge, frame) if role == _RELEASE else 0
    stored = max(levels - left, 0)
    p.charge = (100 * stored + charge.levels // 2) // max(charge.levels, 1)


@rule
def _empties(p, charge, role, was):
    is_interrupted = was not in (_NONE, _FULL) and role == _NONE
    if is_interrupted and p.percent > p.was_percent and charge.lost_by_hit:
        return True
    if was == _RELEASE and role != _RELEASE:
        return True
    if p.action <= _LAST_DEAD and charge.lost_by_death:
        return True
    return p.character != p.was_character


@rule
def _left(charge, frame):
    """Levels that a release has let go by a frame of it."""
    since = frame - charge.first
    if since < 0:
        return 0
    return 1 + since // charge.every if charge.every > 0 else charge.levels


@rule
def _lift(p, code, dies, keeps):
    if dies or (p.grounded and not keeps) or code & _GIVES_BACK:
        p.lift_spent = 0
    elif code & _USES_ONCE and not p.grounded:
        p.lift_spent = 1


@rule
def _judge(p, number, dies):
    if dies:
        p.judge_last = _FIRST_LAST
        p.judge_before = _FIRST_BEFORE
    elif number != p.judge_last:
        p.judge_before = p.judge_last
        p.judge_last = number

"""Grabs: catching, holding, pummels, throws, and getting out of them.

Who is held stands where the holder's hands are, by a table of recorded places; the holder alone
decides what happens, until the held one has struggled free.
"""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls, knockback, staling
from exphil_tf.sim.rules.change import enter

PULL_FRAMES = 2
HOLD_BASE, HOLD_SHARE = 90.0, 1.7
"""Frames of a hold: the first, and the second for each percent."""
STRUGGLE = 6.0
"""Frames that each button or push of the stick takes off."""
THROW_STICK = 0.25
PUMMELS = 4
FREE_FRAMES = 30
THROWN_WEIGHT = 100.0
HELD_AGES = 64


@rule
def is_grabbing(action):
    """Whether an action reaches for somebody, holds or throws."""
    return act.GRAB <= action <= act.THROW_LOW


@rule
def is_holding(action):
    """Whether somebody may be in hand."""
    return act.GRAB_PULL <= action <= act.THROW_LOW and action not in (
        act.DASH_GRAB, act.GRAB_BREAK,
    )  # fmt: skip


@rule
def is_held(action):
    """Whether an action is being held or thrown."""
    return act.HELD_FIRST <= action <= act.HELD_LAST or act.THROWN_F <= action <= act.THROWN_LOW


@rule
def is_tied(action):
    """Whether an action's end is not its own: holding, throwing, being held."""
    return is_holding(action) or is_held(action)


@rule
def may_catch(p):
    """Whether a grab reaches a player: not one who is being hit."""
    return p.hitlag <= 0 and p.action != act.GRAB_BREAK


@rule
def catch(holder, held, tables):
    """A grab that reaches somebody."""
    age = holder.age
    pull = act.GRAB_PULL if holder.action == act.GRAB else act.DASH_GRAB_PULL
    enter(holder, pull, tables)
    holder.age = age
    holder.ground_speed = 0.0
    low = held.grounded and holder.grounded
    enter(held, act.HELD_PULL_LOW if low else act.HELD_PULL_HIGH, tables)
    held.age = 1.0
    held.facing = -holder.facing
    held.grab_left = hold_frames(held.percent)
    _stop(held)


@rule
def hold_frames(percent):
    """Frames after which somebody is free who does not struggle."""
    return HOLD_BASE + HOLD_SHARE * percent


@rule
def _stop(p):
    p.vx = 0.0
    p.vy = 0.0
    p.kx = 0.0
    p.ky = 0.0
    p.ground_speed = 0.0
    p.hitstun = 0.0
    p.influence = 0


@rule
def carry(match, players, tables):
    """A frame of every hold: what the holder does, and where the held one is.

    Args:
      match: `MATCH` record.
      players: its `PLAYER` records `[2]`.
      tables: `TABLES` record.
    """
    for seat in range(2):
        holder, held = players[seat], players[1 - seat]
        if is_holding(holder.action):
            if is_held(held.action):
                _hold(holder, held, tables)
            elif holder.action < act.THROW_F:
                enter(holder, act.WAIT if holder.grounded else act.FALL, tables)
        elif is_held(held.action) and not is_tied(holder.action):
            _let_go(held, tables)


@rule
def _let_go(held, tables):
    enter(held, act.WAIT if held.grounded else act.FALL, tables)


@rule
def _hold(holder, held, tables):
    action = holder.action
    if holder.hitlag > 0:
        return
    if action == act.GRAB_PULL or action == act.DASH_GRAB_PULL:
        if holder.frames >= PULL_FRAMES:
            enter(holder, act.GRAB_WAIT, tables)
            _wait(held, tables)
    elif action == act.PUMMEL:
        _pummel(holder, held, tables)
    if holder.action == act.GRAB_WAIT:
        _choose(holder, held, tables)
    elif action >= act.THROW_F:
        _throw(holder, held, tables)
    if is_held(held.action):
        _place(holder, held, tables)


@rule
def _wait(held, tables):
    low = held.action == act.HELD_PULL_LOW or held.action >= act.HELD_WAIT_LOW
    enter(held, act.HELD_WAIT_LOW if low else act.HELD_WAIT_HIGH, tables)
    held.age = 1.0
    held.rate = 2.0


@rule
def _choose(holder, held, tables):
    """What the holder's controller asks for; and the held one's struggle."""
    held.grab_left -= 1.0 + STRUGGLE * _struggles(held)
    if held.grab_left <= 0:
        _break_free(holder, held, tables)
        return
    x, y = holder.stick_x, holder.stick_y
    flicks = (abs(x) >= THROW_STICK and holder.tilt_x == 0) or (
        abs(y) >= THROW_STICK and holder.tilt_y == 0
    )
    if controls.c_flick_x(holder) != 0 or controls.c_flick_y(holder) != 0:
        x, y, flicks = holder.c_x, holder.c_y, True
    if flicks:
        _start_throw(holder, held, x * holder.facing, y, tables)
    elif holder.pressed & (controls.A | controls.B | controls.Z):
        enter(holder, act.PUMMEL, tables)


@rule
def _struggles(p):
    """New buttons and pushes of the stick on this frame."""
    count = 0
    for bit in range(7):
        if p.pressed & (1 << bit):
            count += 1
    out, was_out = math.hypot(p.stick_x, p.stick_y) > 0.7, math.hypot(p.old_x, p.old_y) > 0.7
    if out and (not was_out or p.stick_x * p.old_x + p.stick_y * p.old_y < 0.3):
        count += 1
    return count


@rule
def _break_free(holder, held, tables):
    enter(holder, act.GRAB_BREAK, tables)
    action = act.HELD_FREE if held.grounded else act.HELD_FREE_JUMP
    enter(held, action, tables)


@rule
def _start_throw(holder, held, forwards, up, tables):
    sideways = 0 if forwards > 0 else 1
    which = sideways if abs(up) <= abs(forwards) else (2 if up > 0 else 3)
    enter(holder, act.THROW_F + which, tables)
    enter(held, act.THROWN_F + which, tables)
    throw = tables.throws[holder.character, which]
    rate = THROWN_WEIGHT / tables.weight[held.character] if throw.by_weight else 1.0
    holder.rate = rate
    held.rate = rate
    holder.age = rate
    held.age = rate


@rule
def _pummel(holder, held, tables):
    pummel = tables.throws[holder.character, PUMMELS]
    if holder.age >= pummel.age and not holder.struck:
        holder.struck = 1
        low = held.action >= act.HELD_PULL_LOW
        enter(held, act.HELD_HURT_LOW if low else act.HELD_HURT_HIGH, tables)
        dealt = pummel.damage * staling.share(holder, pummel.move)
        _deal(holder, held, dealt)
        staling.remember(holder, pummel.move)
    elif holder.age >= pummel.length:
        enter(holder, act.GRAB_WAIT, tables)
        _wait(held, tables)


@rule
def _deal(holder, held, dealt):
    held.percent = min(knockback.MOST_PERCENT, held.percent + dealt)
    holder.hitlag = knockback.hitlag(dealt)
    held.hitlag = holder.hitlag


@rule
def _throw(holder, held, tables):
    throw = tables.throws[holder.character, holder.action - act.THROW_F]
    age = holder.age + 0.01
    if throw.blow_damage > 0 and age >= throw.blow_age and not holder.struck:
        holder.struck = 1
        _deal(holder, held, throw.blow_damage * staling.share(holder, throw.move))
        staling.remember(holder, throw.move)
    if age < throw.age:
        return
    if holder.struck:
        dealt = throw.damage * staling.share_before(holder, throw.move)
    else:
        dealt = throw.damage * staling.share(holder, throw.move)
    staling.remember(holder, throw.move)
    strength = knockback.strength(held.percent, throw, throw.damage, dealt, THROWN_WEIGHT)
    held.percent = min(knockback.MOST_PERCENT, held.percent + dealt)
    _place(holder, held, tables)
    angle = knockback.launch_angle(throw.angle, strength, 0)
    if holder.facing < 0:
        angle = 180.0 - angle
    held.grounded = 0
    held.air_frames = 0
    knockback.launch(held, strength, angle, 0.5, tables)
    if strength >= knockback.TUMBLES:
        held.action = throw.after
    knockback.bend(held)


@rule
def _place(holder, held, tables):
    """Where the holder's hands are."""
    if holder.frames == 0 and holder.action in (act.GRAB_PULL, act.DASH_GRAB_PULL):
        return
    throws = holder.action >= act.THROW_F
    at = int(holder.age + 0.5) if throws else int(holder.frames)
    at = min(max(at, 0), HELD_AGES - 1)
    place = tables.held[holder.character, holder.action - act.GRAB_PULL, at]
    held.x = holder.x + place[0] * holder.facing
    held.y = holder.y + place[1]
    held.grounded = holder.grounded
    held.line = holder.line


@rule
def grow(p, tables):
    """A frame of an action whose end is somebody else's; a throw ends by its own age."""
    p.age += p.rate
    p.frames = min(p.frames + 1, 30000)
    throws = act.THROW_F <= p.action <= act.THROW_LOW
    if throws and p.age >= tables.throws[p.character, p.action - act.THROW_F].length:
        enter(p, act.WAIT if p.grounded else act.FALL, tables)

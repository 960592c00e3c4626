"""What scripts are made of: staying alive, blows, and what is held for a frame."""

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules.controls import A, B, L, X, Z

REACH, TALL = 15.0, 12.0
"""How far ahead and above a hand's attack is taken to reach, in game units."""
PRESS_FRAMES = 3
KILL_PERCENT = 60.0
UNDER, UNDER_Y = 3.0, -6.0
"""So near to the stage's side, and so deep, one drifts outwards to rise beside it."""
FOX, FALCO, ILLUSION_Y = 1, 22, -12.0
"""Who comes back sideways, and down to which height."""


@rule
def survive(match, seat, p, pad, tables):
    """Out of hits and back to the stage. True if that is what there is to do."""
    edge = tables.stages[match.stage].edge
    home = -1.0 if p.x > 0 else 1.0
    if act.LEDGE_CATCH <= p.action <= act.LEDGE_WAIT:
        if p.action == act.LEDGE_WAIT and p.frames > 5:
            _leave_ledge(p, pad, home, chance(match, seat, 90, 8))
        return True
    if _is_down_or_tied(match, seat, p, pad):
        return True
    if act.DAMAGE_FIRST <= p.action <= act.DAMAGE_LAST or p.action == act.TUMBLE:
        pad.stick_x = home
        pad.stick_y = 0.0
        if p.y < 12 and p.vy + p.ky < 0 and abs(p.x) < edge and p.tech_frames > 40:
            press(p, pad, L)
        if p.hitstun > 0 or abs(p.x) < edge:
            return True
    if p.grounded or (abs(p.x) < edge and p.y > -5):
        return False
    _come_home(p, pad, home, abs(p.x) - edge)
    return True


@rule
def _is_down_or_tied(match, seat, p, pad):
    """Gets up, struggles out of a hold, throws. True if that is what there is to do."""
    action = p.action
    if act.DOWN_BOUND_UP <= action <= act.DOWN_WAIT_DOWN:
        if chance(match, seat, 60, 12) < 0.5:
            press(p, pad, A)
        else:
            pad.stick_x = 1.0 if chance(match, seat, 60, 13) < 0.5 else -1.0
        return True
    if act.HELD_FIRST <= action <= act.HELD_LAST:
        press(p, pad, A)
        pad.stick_x = 1.0 if p.frames % 8 < 4 else -1.0
        return True
    if action == act.GRAB_WAIT or action == act.PUMMEL:
        if action == act.GRAB_WAIT and p.frames < 4:
            if chance(match, seat, 40, 18) < 0.4:
                press(p, pad, A)
        elif action == act.GRAB_WAIT and p.stick_x == 0 and p.stick_y == 0:
            _throw(pad, chance(match, seat, 60, 14))
        return True
    return False


@rule
def _throw(pad, chosen):
    if chosen < 0.25:
        pad.stick_x = 1.0
    elif chosen < 0.5:
        pad.stick_x = -1.0
    else:
        pad.stick_y = 1.0 if chosen < 0.75 else -1.0


@rule
def _come_home(p, pad, home, out):
    """A jump, then whatever special move brings most, and never under the stage."""
    pad.stick_x = home if out > UNDER or p.y > UNDER_Y else -home
    if p.vy >= 0 or (p.y > 0 and out < 20):
        return
    if p.jumps > 0:
        if p.y < -8 or out > 20:
            press(p, pad, X)
    elif (p.character == FOX or p.character == FALCO) and p.y > ILLUSION_Y:
        pad.stick_x = home
        press(p, pad, B)
    elif p.y < -10 or out > 30:
        pad.stick_x = 0.6 * home
        pad.stick_y = 0.8
        press(p, pad, B)


@rule
def _leave_ledge(p, pad, home, chosen):
    if chosen < 0.4:
        pad.stick_x = home if p.stick_x == 0 else 0.0
    elif chosen < 0.6:
        press(p, pad, X)
    elif chosen < 0.8:
        press(p, pad, L)
    else:
        press(p, pad, A)


@rule
def stay_on(match, p, pad, tables):
    """Nobody walks off the stage by mistake; off a platform it takes a flick of the stick."""
    edge = tables.stages[match.stage].edge
    teeters = p.action == act.TEETER or p.action == act.TEETER_WAIT
    if teeters and abs(p.x) < edge - 9 and p.stick_x * pad.stick_x > 0:
        pad.stick_x = 0.0
    jumps = p.action == act.JUMPSQUAT or pad.buttons & X
    if p.grounded and not jumps and abs(p.x) > edge - 9 and p.x * pad.stick_x > 0:
        pad.stick_x = 0.0


@rule
def strike(match, seat, p, foe, pad):
    """Some attack on somebody within reach, on the ground."""
    side, chosen = side_of(p, foe), chance(match, seat, 24, 9)
    if _is_shielding(foe) or chosen < 0.2:
        press(p, pad, Z)
    elif foe.percent >= KILL_PERCENT and chosen < 0.7:
        smash(p, foe, pad, chance(match, seat, 24, 17))
    elif chosen < 0.5:
        tilt(p, pad, side, 0.0)
    elif chosen < 0.75:
        tilt(p, pad, 0.0, -0.5)
    elif chosen > 0.92:
        pad.stick_y = -1.0
        press(p, pad, B)
    elif chosen > 0.84:
        smash(p, foe, pad, chance(match, seat, 24, 17))
    else:
        press(p, pad, A)


@rule
def fight_in_air(p, foe, pad):
    """Drifts to the opponent, attacks where they are, comes down fast and cancels the landing."""
    ahead, above = (foe.x - p.x) * p.facing, foe.y - p.y
    pad.stick_x = side_of(p, foe)
    if act.NAIR <= p.action <= act.DAIR:
        if p.vy < 0 and not p.fast_falls:
            pad.stick_y = -1.0
            pad.stick_x = 0.0
        if p.vy < 0 and p.y < 10 and p.cancel_frames > 7:
            press(p, pad, L)
    elif abs(ahead) < REACH + 4 and abs(above) < 2 * TALL:
        if above > TALL:
            pad.stick_x = 0.0
            pad.stick_y = 0.5
        elif above < -TALL:
            pad.stick_x = 0.0
            pad.stick_y = -0.5
        press(p, pad, A)
    elif p.vy < 0 and p.jumps > 0 and above > 2 * TALL:
        press(p, pad, X)


@rule
def smash(p, foe, pad, chosen):
    """A flick of the C-stick: ahead, up or down."""
    if p.c_x != 0 or p.c_y != 0:
        return
    if chosen < 0.5:
        pad.c_x = side_of(p, foe)
    else:
        pad.c_y = 1.0 if chosen < 0.75 else -1.0


@rule
def tilt(p, pad, x, y):
    """A with the stick half out."""
    pad.stick_x = 0.5 * x
    pad.stick_y = y
    press(p, pad, A)


@rule
def walk_to(p, pad, x, speed):
    """Holds the stick towards a place, unless there."""
    if p.action in (act.TEETER, act.TEETER_WAIT):
        speed = 1.0  # off the platform
    if abs(x - p.x) > 4:
        pad.stick_x = speed if x > p.x else -speed


@rule
def drop_through(p, pad):
    """Down and held, on a platform; anew if that came to nothing."""
    pad.stick_x = 0.0
    pad.stick_y = 0.0 if act.SQUAT_WAIT <= p.action <= act.SQUAT_RISE else -1.0


@rule
def jump(p, pad, is_full):
    """Off the ground; X is held for a full hop."""
    if p.action == act.JUMPSQUAT:
        pad.buttons |= X if is_full else 0
    else:
        press(p, pad, X)


@rule
def shield(pad):
    """Holds the shield."""
    pad.buttons |= L
    pad.trigger = 1.0


@rule
def press(p, pad, button):
    """Down for some frames of an action and up for as many, in turns; up first if it is down."""
    if p.frames == 0 and p.buttons & button:
        return
    if p.frames % (2 * PRESS_FRAMES) < PRESS_FRAMES:
        pad.buttons |= button
        if button == L:
            pad.trigger = 1.0
        elif button == Z:
            pad.trigger = max(pad.trigger, np.float32(0.35))


@rule
def let_go(pad):
    """Touches nothing."""
    pad.stick_x = 0.0
    pad.stick_y = 0.0
    pad.c_x = 0.0
    pad.c_y = 0.0
    pad.trigger = 0.0
    pad.buttons = 0


@rule
def side_of(p, foe):
    """1 if the opponent is to the right, else -1."""
    return 1.0 if foe.x >= p.x else -1.0


@rule
def is_attacking(p):
    """Whether an attack is under way."""
    return (
        act.JAB_1 <= p.action <= act.DAIR
        or act.GRAB <= p.action <= act.DASH_GRAB
        or p.action >= act.SPECIAL_FIRST
    )


@rule
def _is_shielding(p):
    return act.GUARD_ON <= p.action <= act.GUARD_REFLECT


@rule
def is_idle(p):
    """Does nothing at all, for a while already: stands or lies."""
    waits = p.action in (act.WAIT, act.DOWN_WAIT_UP, act.DOWN_WAIT_DOWN)
    return waits and p.frames > IDLE_FRAMES


IDLE_FRAMES = 40


@rule
def is_stuck(p):
    """Cannot answer for a while: lands, misses, dodges, lies or is dizzy."""
    action = p.action
    return (
        act.LANDING_SPECIAL <= action <= act.DASH_ATTACK + 19
        and p.grounded
        or act.NAIR_LANDING <= action <= act.DAIR_LANDING
        or act.SPECIAL_FALL <= action <= act.SPECIAL_FALL_B
        or act.DOWN_BOUND_UP <= action <= act.TECH_B
        or act.SHIELD_BREAK_FLY <= action <= act.DASH_GRAB
        or act.ROLL_F <= action <= act.AIR_DODGE
    )


@rule
def chance(match, seat, period, salt):
    """In [0, 1), the same for so many frames: by match, seat, time and what it is drawn for."""
    time = np.uint64(match.frame // period + 4096)
    x = match.seed + time * np.uint64(0x9E3779B97F4A7C15)
    x ^= np.uint64(2 * salt + seat + 1) * np.uint64(0xD1B54A32D192ED03)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((x ^ (x >> np.uint64(31))) >> np.uint64(11)) / 9007199254740992.0

"""Scripted players, as rules over a match's state.

A script sees the match as it stands and says what is held on the next frame. It remembers nothing:
buttons go down and up by the age of its action, sticks by the controller of the frame before, and
chance is a hash of the match's seed, the time and the seat. So a script's play is a function of the
match alone. Who reacts does so `REACTION` frames late, as the
age of what the opponent does tells.

Every script is a rule `(match, p, foe, pad, tables)` over its player, the opponent and the
controller to fill in, which begins as untouched.
"""

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import kernel, rule
from exphil_tf.sim.rules.controls import D_UP, A, B, L, R, X, Y, Z

STANDER, WALKER, JUMPER, TURTLE, CAMPER, SPACER, AGGRESSOR, PUNISHER = range(8)
REACTION = 12
REACH, TALL = 15.0, 12.0
"""How far ahead and above a hand's attack is taken to reach, in game units."""
PRESS_FRAMES = 3
KILL_PERCENT = 60.0
_HALO_PATIENCE = 40


@kernel
def play_scripts(matches, scripts, pads, tables):
    """Fills in the controllers of those who are played by scripts.

    Args:
      matches: `MATCH` `[matches]`, as they stand.
      scripts: int8 `[matches, 2]`: places in `opponents.SCRIPTS`, or `EXTERNAL`.
      pads: `INPUT` `[matches, 2]`, written.
      tables: `TABLES` `[1]`.
    """
    for at in range(len(matches)):
        players = matches[at].players
        for seat in range(2):
            if scripts[at, seat] >= 0 and not matches[at].over:
                _let_go(pads[at, seat])
                _play(scripts[at, seat], matches[at], seat, players, pads[at, seat], tables[0])
                _take_other_buttons(matches[at], seat, pads[at, seat])


@rule
def _play(script, match, seat, players, pad, tables):
    p, foe = players[seat], players[1 - seat]
    if script == STANDER or p.action <= act.DEAD_STAR:
        return
    if p.action == act.REBIRTH_WAIT:
        pad.stick_y = -1.0 if p.frames > _HALO_PATIENCE else 0.0
        return
    if script == CAMPER and _camp(match, seat, p, foe, pad, tables):
        return
    if _survive(match, seat, p, pad, tables):
        return
    if script == WALKER:
        _wander(match, seat, p, pad, tables)
    elif script == JUMPER:
        _hop(match, p, foe, pad)
    elif script == TURTLE:
        _hide(match, seat, p, foe, pad)
    elif script == SPACER:
        _space(match, seat, p, foe, pad, tables)
    elif script == AGGRESSOR:
        _rush(match, seat, p, foe, pad)
    elif script == PUNISHER:
        _punish(match, seat, p, foe, pad, tables)
    _stay_on(match, p, pad, tables)


@rule
def _take_other_buttons(match, seat, pad):
    """Half of the hands jump with Y and shield with R."""
    if chance(match, seat, 1 << 30, 15) < 0.5:
        return
    if pad.buttons & X:
        pad.buttons ^= X | Y
    if pad.buttons & L:
        pad.buttons ^= L | R


# -- The scripts -------------------------------------------------------------------------------


@rule
def _wander(match, seat, p, pad, tables):
    """Walks to one side or the other, another every two seconds."""
    edge = tables.stages[match.stage].edge
    _walk_to(p, pad, edge * (1.2 * chance(match, seat, 120, 1) - 0.6), 0.6)


@rule
def _hop(match, p, foe, pad):
    """Jumps at the opponent, high, and attacks in the air."""
    pad.stick_x = _side(p, foe) if abs(foe.x - p.x) > 5 else 0.0
    if p.grounded:
        _jump(p, pad, True)
    elif abs(foe.x - p.x) < REACH + 5 and abs(foe.y - p.y) < 2 * TALL:
        _press(p, pad, A)
    elif p.vy < 0 and p.jumps > 0 and foe.y > p.y + TALL:
        _press(p, pad, X)


@rule
def _hide(match, seat, p, foe, pad):
    """Waits in the shield for whoever comes near, and grabs out of it."""
    apart = abs(foe.x - p.x)
    if p.grounded and apart < 2.5 * REACH and p.shield > 20:
        close = apart < REACH and abs(foe.y - p.y) < TALL
        _shield(pad)
        if close and (_is_stuck(foe) or chance(match, seat, 20, 2) < 0.1):
            _press(p, pad, Z)
    elif p.grounded and apart < REACH and p.shield <= 20:
        pad.stick_x = 0.5 * _side(p, foe)
        _press(p, pad, A)


@rule
def _camp(match, seat, p, foe, pad, tables):
    """Lives on the nearest ledge, and comes up to whoever stands above it. True if it acted."""
    out = 1.0 if p.x >= 0 else -1.0
    beyond = abs(p.x) - tables.stages[match.stage].edge
    if act.LEDGE_CATCH <= p.action <= act.LEDGE_WAIT:
        near = abs(foe.x - p.x) < 2 * REACH and abs(foe.y) < 2 * TALL
        if p.action == act.LEDGE_WAIT and near and chance(match, seat, 30, 3) < 0.4:
            _press(p, pad, A)
        elif p.action == act.LEDGE_WAIT and p.frames > 25:
            pad.stick_x = out if p.stick_x == 0 else 0.0  # lets go, to catch it anew
        return True
    if p.grounded:
        _go_to_ledge(p, pad, out, beyond)
        return True
    if p.hitstun > 0 or p.facing * out > 0 or p.y < -30 or beyond < -15:
        return False
    if beyond < 2:
        pad.stick_x = 0.7 * out
    elif beyond > 5:
        pad.stick_x = -0.7 * out
    if p.vy < 0 and p.ledge_wait > 0 and p.y < -16 and p.jumps > 0:
        pad.stick_x = 0.0
        _press(p, pad, X)
    return True


@rule
def _go_to_ledge(p, pad, out, beyond):
    """Along the ground; then backwards off it, as whoever catches a ledge faces it."""
    if p.y > 5:
        _drop_through(p, pad)
    elif beyond < -30:
        pad.stick_x = out
    elif act.DASH <= p.action <= act.RUN_BRAKE:
        pad.stick_x = 0.0
    elif beyond < -9:
        pad.stick_x = 0.6 * out
    elif p.facing * out > 0:
        pad.stick_x = -0.5 * out
    else:
        pad.stick_x = 0.7 * out
        _jump(p, pad, False)


@rule
def _space(match, seat, p, foe, pad, tables):
    """Keeps just out of reach, turning to and fro, and steps in when something misses."""
    apart, side = abs(foe.x - p.x), _side(p, foe)
    if not p.grounded:
        _fight_in_air(p, foe, pad)
        return
    open_ = _is_stuck(foe) and foe.frames >= REACTION
    if apart < REACH and abs(foe.y - p.y) < TALL and p.action != act.DASH:
        if _is_attacking(foe) and foe.frames < 20:
            _shield(pad)
        else:
            _strike(match, seat, p, foe, pad)
    elif open_ and apart < 45:
        pad.stick_x = side
        if apart < REACH + 8:
            _press(p, pad, Z if chance(match, seat, 24, 11) < 0.4 else A)
    elif apart < 60 and chance(match, seat, 60, 19) < 0.35:
        _step_in(match, seat, p, foe, pad)
    elif apart < 28 and chance(match, seat, 40, 4) < 0.35:
        pad.stick_x = -side
        _jump(p, pad, False)
    else:
        _dance(match, seat, p, foe, pad, tables)


@rule
def _step_in(match, seat, p, foe, pad):
    """Dashes at the opponent and attacks on the way, or jumps at them."""
    apart, side = abs(foe.x - p.x), _side(p, foe)
    pad.stick_x = side
    if foe.y > p.y + TALL or (apart < 40 and chance(match, seat, 30, 20) < 0.4):
        _jump(p, pad, foe.y > p.y + 2 * TALL)
    elif apart < REACH + 8 and act.DASH <= p.action <= act.RUN:
        _press(p, pad, Z if chance(match, seat, 24, 21) < 0.4 else A)


@rule
def _dance(match, seat, p, foe, pad, tables):
    """Dashes to and fro at a distance."""
    apart, side = abs(foe.x - p.x), _side(p, foe)
    turn = 8 + int(6 * chance(match, seat, 30, 5))
    if apart > 60:
        pad.stick_x = side
    elif apart < 24:
        pad.stick_x = -side
    elif p.action == act.DASH:
        pad.stick_x = -p.facing if p.frames >= turn else p.facing
    else:
        pad.stick_x = side if chance(match, seat, 16, 6) < 0.55 else -side
    edge = tables.stages[match.stage].edge
    if abs(p.x) > edge - 20 and p.x * pad.stick_x > 0:
        pad.stick_x = -1.0 if p.x > 0 else 1.0


@rule
def _rush(match, seat, p, foe, pad):
    """Runs at the opponent and always does something: aerials, jabs, grabs, smashes."""
    apart, side = abs(foe.x - p.x), _side(p, foe)
    if foe.action <= act.DEAD_STAR and p.grounded:
        _press(p, pad, D_UP)
        return
    if not p.grounded:
        _fight_in_air(p, foe, pad)
    elif p.action == act.JUMPSQUAT:
        pad.stick_x = side
        _jump(p, pad, foe.y > p.y + 2 * TALL)
    elif apart < REACH and abs(foe.y - p.y) < TALL:
        _strike(match, seat, p, foe, pad)
    elif apart < 40 and (foe.y > p.y + TALL or chance(match, seat, 45, 7) < 0.5):
        pad.stick_x = side
        _jump(p, pad, foe.y > p.y + 2 * TALL)
    else:
        pad.stick_x = side
        if foe.y < p.y - TALL and apart < REACH:
            _drop_through(p, pad)
        if apart < REACH + 10 and p.action == act.RUN:
            _press(p, pad, A)


@rule
def _punish(match, seat, p, foe, pad, tables):
    """Waits, shields what comes, hits what cannot answer, guards the edge."""
    apart, side = abs(foe.x - p.x), _side(p, foe)
    edge = tables.stages[match.stage].edge
    if not p.grounded:
        _fight_in_air(p, foe, pad)
    elif act.GUARD_ON <= p.action <= act.GUARD_STUN:
        _hold_or_grab(p, foe, pad, apart)
    elif _is_attacking(foe) and foe.frames < REACTION + 8 and apart < 2.2 * REACH:
        _shield(pad)
    elif _is_stuck(foe) and foe.frames >= REACTION and apart < 60:
        pad.stick_x = side
        if apart < REACH and abs(foe.y - p.y) < TALL:
            _finish(match, seat, p, foe, pad)
    elif abs(foe.x) > edge and not foe.grounded:
        _walk_to(p, pad, (edge - 10) * (1.0 if foe.x > 0 else -1.0), 1.0)
        if apart < REACH and abs(foe.y - p.y) < 2 * TALL:
            _tilt(p, pad, side, -0.5)
    elif apart < REACH and abs(foe.y - p.y) < TALL and foe.frames >= REACTION:
        _strike(match, seat, p, foe, pad)
    elif foe.y > p.y + TALL and apart < REACH:
        _tilt(p, pad, 0.0, 0.5)
    elif apart < 60 and chance(match, seat, 60, 22) < 0.3:
        _step_in(match, seat, p, foe, pad)
    else:
        _dance(match, seat, p, foe, pad, tables)


@rule
def _hold_or_grab(p, foe, pad, apart):
    if apart < REACH and abs(foe.y - p.y) < TALL and _is_stuck(foe):
        _shield(pad)
        _press(p, pad, Z)
    elif _is_attacking(foe) and apart < 2.5 * REACH:
        _shield(pad)


@rule
def _finish(match, seat, p, foe, pad):
    """The strongest there is for somebody who cannot answer."""
    if foe.percent >= KILL_PERCENT:
        pad.stick_x = 0.0
        _smash(p, foe, pad, chance(match, seat, 24, 16))
    elif chance(match, seat, 24, 10) < 0.3:
        _press(p, pad, Z)
    else:
        _tilt(p, pad, 0.0, 0.5)


# -- What they share ---------------------------------------------------------------------------


@rule
def _survive(match, seat, p, pad, tables):
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
            _press(p, pad, L)
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
            _press(p, pad, A)
        else:
            pad.stick_x = 1.0 if chance(match, seat, 60, 13) < 0.5 else -1.0
        return True
    if act.HELD_FIRST <= action <= act.HELD_LAST:
        _press(p, pad, A)
        pad.stick_x = 1.0 if p.frames % 8 < 4 else -1.0
        return True
    if action == act.GRAB_WAIT or action == act.PUMMEL:
        if action == act.GRAB_WAIT and p.frames < 4:
            if chance(match, seat, 40, 18) < 0.4:
                _press(p, pad, A)
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
    pad.stick_x = home
    if p.vy >= 0 or (p.y > 0 and out < 20):
        return
    if p.jumps > 0:
        if p.y < -8 or out > 20:
            _press(p, pad, X)
    elif p.y < -10 or out > 30:
        pad.stick_x = 0.6 * home
        pad.stick_y = 0.8
        _press(p, pad, B)


@rule
def _leave_ledge(p, pad, home, chosen):
    if chosen < 0.4:
        pad.stick_x = home if p.stick_x == 0 else 0.0
    elif chosen < 0.6:
        _press(p, pad, X)
    elif chosen < 0.8:
        _press(p, pad, L)
    else:
        _press(p, pad, A)


@rule
def _stay_on(match, p, pad, tables):
    """Nobody walks off by mistake."""
    edge = tables.stages[match.stage].edge
    jumps = p.action == act.JUMPSQUAT or pad.buttons & X
    if p.grounded and not jumps and abs(p.x) > edge - 9 and p.x * pad.stick_x > 0:
        pad.stick_x = 0.0


@rule
def _strike(match, seat, p, foe, pad):
    """Some attack on somebody within reach, on the ground."""
    side, chosen = _side(p, foe), chance(match, seat, 24, 9)
    if _is_shielding(foe) or chosen < 0.2:
        _press(p, pad, Z)
    elif foe.percent >= KILL_PERCENT and chosen < 0.7:
        _smash(p, foe, pad, chance(match, seat, 24, 17))
    elif chosen < 0.5:
        _tilt(p, pad, side, 0.0)
    elif chosen < 0.75:
        _tilt(p, pad, 0.0, -0.5)
    elif chosen > 0.92:
        pad.stick_y = -1.0
        _press(p, pad, B)
    else:
        _press(p, pad, A)


@rule
def _fight_in_air(p, foe, pad):
    """Drifts to the opponent, attacks where they are, comes down fast and cancels the landing."""
    ahead, above = (foe.x - p.x) * p.facing, foe.y - p.y
    pad.stick_x = _side(p, foe)
    if act.NAIR <= p.action <= act.DAIR:
        if p.vy < 0 and not p.fast_falls:
            pad.stick_y = -1.0
            pad.stick_x = 0.0
        if p.vy < 0 and p.y < 10 and p.cancel_frames > 7:
            _press(p, pad, L)
    elif abs(ahead) < REACH + 4 and abs(above) < 2 * TALL:
        if above > TALL:
            pad.stick_x = 0.0
            pad.stick_y = 0.5
        elif above < -TALL:
            pad.stick_x = 0.0
            pad.stick_y = -0.5
        _press(p, pad, A)
    elif p.vy < 0 and p.jumps > 0 and above > 2 * TALL:
        _press(p, pad, X)


@rule
def _smash(p, foe, pad, chosen):
    """A flick of the C-stick: ahead, up or down."""
    if p.c_x != 0 or p.c_y != 0:
        return
    if chosen < 0.5:
        pad.c_x = _side(p, foe)
    else:
        pad.c_y = 1.0 if chosen < 0.75 else -1.0


@rule
def _tilt(p, pad, x, y):
    """A with the stick half out."""
    pad.stick_x = 0.5 * x
    pad.stick_y = y
    _press(p, pad, A)


@rule
def _walk_to(p, pad, x, speed):
    if p.action in (act.TEETER, act.TEETER_WAIT):
        speed = 1.0  # off the platform
    if abs(x - p.x) > 4:
        pad.stick_x = speed if x > p.x else -speed


@rule
def _drop_through(p, pad):
    """Down and held, on a platform; anew if that came to nothing."""
    pad.stick_x = 0.0
    pad.stick_y = 0.0 if act.SQUAT_WAIT <= p.action <= act.SQUAT_RISE else -1.0


@rule
def _jump(p, pad, is_full):
    """Off the ground; X is held for a full hop."""
    if p.action == act.JUMPSQUAT:
        pad.buttons |= X if is_full else 0
    else:
        _press(p, pad, X)


@rule
def _shield(pad):
    pad.buttons |= L
    pad.trigger = 1.0


@rule
def _press(p, pad, button):
    """Down for some frames of an action and up for as many, in turns."""
    if p.frames % (2 * PRESS_FRAMES) < PRESS_FRAMES:
        pad.buttons |= button
        if button == L:
            pad.trigger = 1.0
        elif button == Z:
            pad.trigger = max(pad.trigger, np.float32(0.35))


@rule
def _let_go(pad):
    pad.stick_x = 0.0
    pad.stick_y = 0.0
    pad.c_x = 0.0
    pad.c_y = 0.0
    pad.trigger = 0.0
    pad.buttons = 0


@rule
def _side(p, foe):
    """1 if the opponent is to the right, else -1."""
    return 1.0 if foe.x >= p.x else -1.0


@rule
def _is_attacking(p):
    return (
        act.JAB_1 <= p.action <= act.DAIR
        or act.GRAB <= p.action <= act.DASH_GRAB
        or p.action >= act.SPECIAL_FIRST
    )


@rule
def _is_shielding(p):
    return act.GUARD_ON <= p.action <= act.GUARD_REFLECT


@rule
def _is_stuck(p):
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

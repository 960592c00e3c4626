"""Scripted players, as rules over a match's state.

A script sees the match as it stands and says what is held on the next frame. It remembers nothing:
buttons go down and up by the age of its action, sticks by the controller of the frame before, and
chance is a hash of the match's seed, the time and the seat. So a script's play is a function of the
match alone. Who reacts does so `REACTION` frames late, as the
age of what the opponent does tells.

Every script is a rule `(match, p, foe, pad, tables)` over its player, the opponent and the
controller to fill in, which begins as untouched.
"""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules.controls import D_UP, A, L, R, X, Y, Z
from exphil_tf.sim.rules.script_parts import (
    KILL_PERCENT,
    REACH,
    TALL,
    chance,
    drop_through,
    fight_in_air,
    is_attacking,
    is_idle,
    is_stuck,
    jump,
    let_go,
    press,
    shield,
    side_of,
    smash,
    stay_on,
    strike,
    survive,
    tilt,
    walk_to,
)

STANDER, WALKER, TURTLE, CAMPER, JUMPER, SPACER, AGGRESSOR, PUNISHER = range(8)
REACTION = 12
_HALO_PATIENCE, _LEDGE_PATIENCE = 40, 60
_PUNISHER_RUNS = 0.7


@rule
def play_scripts(match, scripts, pads, tables):
    """Fills in the controllers of those who are played by scripts.

    Args:
      match: `MATCH` record, as it stands.
      scripts: int8 `[2]`: places in `opponents.SCRIPTS`, or `EXTERNAL`.
      pads: `INPUT` records `[2]`, written.
      tables: `TABLES` record.
    """
    players = match.players
    for seat in range(2):
        if scripts[seat] >= 0:
            let_go(pads[seat])
            _play(scripts[seat], match, seat, players, pads[seat], tables)
            _take_other_buttons(match, seat, pads[seat])
            _hold_as_a_hand(match, seat, pads[seat])


@rule
def _play(script, match, seat, players, pad, tables):
    p, foe = players[seat], players[1 - seat]
    if script == STANDER:
        if p.action == act.LEDGE_WAIT and p.frames > _LEDGE_PATIENCE:
            pad.stick_y = -1.0
        return
    if p.action <= act.DEAD_STAR:
        return
    if p.action == act.REBIRTH_WAIT:
        pad.stick_y = -1.0 if p.frames > _HALO_PATIENCE else 0.0
        return
    if script == CAMPER and _camp(match, seat, p, foe, pad, tables):
        return
    if survive(match, seat, p, pad, tables):
        return
    if script == WALKER:
        _wander(match, seat, p, pad, tables)
    elif script == JUMPER:
        _hop(match, p, foe, pad)
    elif script == TURTLE:
        _hide(match, seat, p, foe, pad)
    elif script == AGGRESSOR or is_idle(foe):
        _rush(match, seat, p, foe, pad)
    elif script == SPACER:
        _space(match, seat, p, foe, pad, tables)
    elif script == PUNISHER:
        _punish(match, seat, p, foe, pad, tables)
    stay_on(match, p, pad, tables)


@rule
def _take_other_buttons(match, seat, pad):
    """Half of the hands jump with Y and shield with R."""
    if chance(match, seat, 1 << 30, 15) < 0.5:
        return
    if pad.buttons & X:
        pad.buttons ^= X | Y
    if pad.buttons & L:
        pad.buttons ^= L | R


@rule
def _hold_as_a_hand(match, seat, pad):
    """No hand finds the same spot again: a part of the way is missing half of the time."""
    pad.stick_x = _short_of(pad.stick_x, chance(match, seat, 10, 23))
    pad.stick_y = _short_of(pad.stick_y, chance(match, seat, 10, 24))


@rule
def _short_of(value, drawn):
    return round(80 * value * (1.0 - max(0.0, 0.125 * drawn - 0.0625))) / 80


# -- The scripts -------------------------------------------------------------------------------


@rule
def _wander(match, seat, p, pad, tables):
    """Walks to one side or the other, another every two seconds."""
    edge = tables.stages[match.stage].edge
    walk_to(p, pad, edge * (1.2 * chance(match, seat, 120, 1) - 0.6), 0.6)


@rule
def _hop(match, p, foe, pad):
    """Jumps at the opponent, high, and attacks in the air."""
    pad.stick_x = side_of(p, foe) if abs(foe.x - p.x) > 5 else 0.0
    if p.grounded:
        jump(p, pad, True)
    elif abs(foe.x - p.x) < REACH + 5 and abs(foe.y - p.y) < 2 * TALL:
        press(p, pad, A)
    elif p.vy < 0 and p.jumps > 0 and foe.y > p.y + TALL:
        press(p, pad, X)


@rule
def _hide(match, seat, p, foe, pad):
    """Waits in the shield for whoever comes near, and grabs out of it."""
    apart = abs(foe.x - p.x)
    if p.grounded and apart < 2.5 * REACH and p.shield > 20:
        close = apart < REACH and abs(foe.y - p.y) < TALL
        shield(pad)
        if close and (is_stuck(foe) or chance(match, seat, 20, 2) < 0.1):
            press(p, pad, Z)
    elif p.grounded and apart < REACH and p.shield <= 20:
        pad.stick_x = 0.5 * side_of(p, foe)
        press(p, pad, A)


@rule
def _camp(match, seat, p, foe, pad, tables):
    """Lives on the nearest ledge, and comes up to whoever stands above it. True if it acted."""
    out = 1.0 if p.x >= 0 else -1.0
    beyond = abs(p.x) - tables.stages[match.stage].edge
    if act.LEDGE_CATCH <= p.action <= act.LEDGE_WAIT:
        near = abs(foe.x - p.x) < 2 * REACH and abs(foe.y) < 2 * TALL
        if p.action == act.LEDGE_WAIT and near and chance(match, seat, 30, 3) < 0.4:
            press(p, pad, A)
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
        press(p, pad, X)
    return True


@rule
def _go_to_ledge(p, pad, out, beyond):
    """Along the ground; then backwards off it, as whoever catches a ledge faces it."""
    if p.y > 5:
        drop_through(p, pad)
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
        jump(p, pad, False)


@rule
def _space(match, seat, p, foe, pad, tables):
    """Keeps just out of reach, turning to and fro, and steps in when something misses."""
    apart, side = abs(foe.x - p.x), side_of(p, foe)
    if not p.grounded:
        fight_in_air(p, foe, pad)
        return
    open_ = is_stuck(foe) and foe.frames >= REACTION
    if apart < REACH and abs(foe.y - p.y) < TALL and p.action != act.DASH:
        if is_attacking(foe) and foe.frames < 20:
            shield(pad)
        else:
            strike(match, seat, p, foe, pad)
    elif open_ and apart < 45:
        pad.stick_x = side
        if apart < REACH + 8:
            press(p, pad, Z if chance(match, seat, 24, 11) < 0.4 else A)
    elif apart < 60 and chance(match, seat, 60, 19) < 0.35:
        _step_in(match, seat, p, foe, pad)
    elif apart < 28 and chance(match, seat, 40, 4) < 0.35:
        pad.stick_x = -side
        jump(p, pad, False)
    else:
        _dance(match, seat, p, foe, pad, tables)


@rule
def _step_in(match, seat, p, foe, pad):
    """Dashes at the opponent and attacks on the way, or jumps at them."""
    apart, side = abs(foe.x - p.x), side_of(p, foe)
    pad.stick_x = side
    if foe.y > p.y + TALL or (apart < 40 and chance(match, seat, 30, 20) < 0.4):
        jump(p, pad, foe.y > p.y + 2 * TALL)
    elif apart < REACH + 8 and act.DASH <= p.action <= act.RUN:
        press(p, pad, Z if chance(match, seat, 24, 21) < 0.4 else A)


@rule
def _dance(match, seat, p, foe, pad, tables):
    """Dashes to and fro at a distance."""
    apart, side = abs(foe.x - p.x), side_of(p, foe)
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
    apart, side = abs(foe.x - p.x), side_of(p, foe)
    if foe.action <= act.DEAD_STAR and p.grounded:
        press(p, pad, D_UP)
        return
    if not p.grounded:
        fight_in_air(p, foe, pad)
    elif p.action == act.JUMPSQUAT:
        pad.stick_x = side
        jump(p, pad, foe.y > p.y + 2 * TALL)
    elif apart < REACH and abs(foe.y - p.y) < TALL:
        strike(match, seat, p, foe, pad)
    elif apart < 40 and (foe.y > p.y + TALL or chance(match, seat, 45, 7) < 0.5):
        pad.stick_x = side
        jump(p, pad, foe.y > p.y + 2 * TALL)
    else:
        pad.stick_x = side
        if foe.y < p.y - TALL and apart < REACH:
            drop_through(p, pad)
        if apart < REACH + 10 and p.action == act.RUN:
            press(p, pad, A)


@rule
def _punish(match, seat, p, foe, pad, tables):
    """Waits, shields what comes, hits what cannot answer, guards the edge."""
    apart, side = abs(foe.x - p.x), side_of(p, foe)
    edge = tables.stages[match.stage].edge
    if not p.grounded:
        fight_in_air(p, foe, pad)
    elif act.GUARD_ON <= p.action <= act.GUARD_STUN:
        _hold_or_grab(p, foe, pad, apart)
    elif is_attacking(foe) and foe.frames < REACTION + 8 and apart < 2.2 * REACH:
        shield(pad)
    elif is_stuck(foe) and foe.frames >= REACTION and apart < 60:
        pad.stick_x = side
        if apart < REACH and abs(foe.y - p.y) < TALL:
            _finish(match, seat, p, foe, pad)
    elif abs(foe.x) > edge and not foe.grounded:
        walk_to(p, pad, (edge - 10) * (1.0 if foe.x > 0 else -1.0), 1.0)
        if apart < REACH and abs(foe.y - p.y) < 2 * TALL:
            tilt(p, pad, side, -0.5)
    elif apart < REACH and abs(foe.y - p.y) < TALL and foe.frames >= REACTION:
        strike(match, seat, p, foe, pad)
    elif foe.y > p.y + TALL and apart < REACH:
        tilt(p, pad, 0.0, 0.5)
    elif chance(match, seat, 60, 22) < _PUNISHER_RUNS and not is_attacking(foe):
        _rush(match, seat, p, foe, pad)
    else:
        _dance(match, seat, p, foe, pad, tables)


@rule
def _hold_or_grab(p, foe, pad, apart):
    if apart < REACH and abs(foe.y - p.y) < TALL and is_stuck(foe):
        shield(pad)
        press(p, pad, Z)
    elif is_attacking(foe) and apart < 2.5 * REACH:
        shield(pad)


@rule
def _finish(match, seat, p, foe, pad):
    """The strongest there is for somebody who cannot answer."""
    if foe.percent >= KILL_PERCENT:
        pad.stick_x = 0.0
        smash(p, foe, pad, chance(match, seat, 24, 16))
    elif chance(match, seat, 24, 10) < 0.3:
        press(p, pad, Z)
    else:
        tilt(p, pad, 0.0, 0.5)


# -- What they share ---------------------------------------------------------------------------

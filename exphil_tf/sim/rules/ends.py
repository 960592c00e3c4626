"""What follows when an action has run its course."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls
from exphil_tf.sim.rules.change import enter, fall_helpless, idle, leave_ground

LANDED_AGE = 30.05
STUN_AGE = 20.0
LONGEST_SPECIAL = 120
"""Frames after which a special move ends whose course nobody has recorded."""
RUN_STICK = 0.62
GETUP_SAFE_FRAMES = 30
CHARGE_FRAMES = 60
"""Of a full charge."""


@rule
def advance(p, a, tables):
    """One frame older; then what ends, ends."""
    if charges(p, tables):
        p.number += 1.0
        return
    p.age += p.rate
    p.frames = min(p.frames + 1, 30000)
    action = p.action
    turn = tables.turns[p.character, min(action, act.ACTIONS - 1)]
    if turn > 0 and p.age == turn:
        p.facing = -p.facing
    if action <= act.REBIRTH_WAIT:
        return
    if action <= act.RUN_BRAKE:
        _end_ground(p, a, tables, action)
    elif action <= act.AIR_JUMP_B:
        _end_jump(p, a, tables, action)
    elif action <= act.TUMBLE:
        pass
    elif action <= act.LANDING_SPECIAL or act.NAIR_LANDING <= action <= act.DAIR_LANDING:
        _end_landing(p, a, tables, action)
    elif act.DAMAGE_FIRST <= action <= act.DAMAGE_LAST:
        _end_damage(p, tables, action)
    elif act.GUARD_ON <= action <= act.GUARD_REFLECT:
        _end_guard(p, tables, action)
    elif act.SPECIAL_FIRST <= action < act.ACTIONS:
        _end_special(p, tables, action)
    elif tables.length[p.character, min(action, act.ACTIONS - 1)] > 0:
        _end_by_length(p, tables, action)


@rule
def charges(p, tables):
    """Whether a smash attack stands still, as A is held, and grows stronger."""
    if not act.FSMASH_HIGH <= p.action <= act.DSMASH or p.number >= CHARGE_FRAMES:
        return False
    age = tables.charge_age[p.character, p.action]
    return age > 0 and p.age == age and p.buttons & controls.A != 0


@rule
def _end_ground(p, a, tables, action):
    if action == act.TURN and p.frames >= a.turn_frames:
        enter(p, act.WAIT, tables)
    elif action == act.DASH:
        if p.frames >= a.dash_frames:
            enter(p, act.WAIT, tables)
    elif action == act.TURN_RUN:
        _turn_run(p, a, tables)
    elif action == act.RUN_BRAKE and p.frames >= a.brake_frames:
        enter(p, act.WAIT, tables)


@rule
def _turn_run(p, a, tables):
    """Stands still in the middle until the run's speed is gone, then faces the other way."""
    if p.flag == 0 and p.age > a.turn_run_stops:
        p.age = a.turn_run_stops
        p.rate = 0.0
        p.flag = 1
    elif p.flag == 1 and p.ground_speed * p.facing <= SLOW_ENOUGH:
        p.rate = 1.0
        p.facing = -p.facing
        p.flag = 2
    elif p.flag == 2 and p.age >= a.turn_run_frames:
        enter(p, act.RUN if p.stick_x * p.facing >= RUN_STICK else act.WAIT, tables)


SLOW_ENOUGH = 0.01


@rule
def _end_jump(p, a, tables, action):
    if action == act.JUMPSQUAT:
        if p.flag == 0 and not controls.holds_jump(p, p.number):
            p.flag = 1
        if p.frames >= a.jumpsquat:
            _jump(p, a, tables)
    elif action <= act.JUMP_B:
        if p.frames >= a.jump_frames:
            enter(p, act.FALL, tables)
    elif p.frames >= a.air_jump_frames:
        enter(p, act.FALL_AERIAL, tables)


@rule
def _jump(p, a, tables):
    """Off the ground: the run carries over, the stick adds."""
    is_short = p.flag
    speed = p.vx * a.jump_carry + p.stick_x * a.jump_stick
    leave_ground(p)
    p.tilt_y = controls.LONG_AGO
    p.vx = min(max(speed, -a.jump_max), a.jump_max)
    p.vy = a.hop_speed if is_short else a.jump_speed
    backwards = p.stick_x * p.facing <= -0.25
    enter(p, act.JUMP_B if backwards else act.JUMP_F, tables)


@rule
def _end_landing(p, a, tables, action):
    if action == act.SQUAT:
        if p.frames >= a.squat_frames:
            enter(p, act.SQUAT_WAIT, tables)
    elif action == act.SQUAT_RISE:
        if p.frames >= a.rise_frames:
            enter(p, act.WAIT, tables)
    elif action == act.LANDING:
        if p.frames >= a.landing_frames:
            enter(p, act.WAIT, tables)
    elif action != act.SQUAT_WAIT and p.age >= LANDED_AGE:
        enter(p, act.WAIT, tables)


@rule
def _end_damage(p, tables, action):
    """Hitstun runs down; what follows depends on how hard the hit was."""
    p.hitstun = max(0.0, p.hitstun - 1.0)
    if p.hitstun > 0:
        return
    if p.frames < tables.length[p.character, action]:
        return
    if action >= act.DAMAGE_FLY_HIGH:
        if not p.grounded:
            enter(p, act.TUMBLE, tables)
    else:
        idle(p, tables)


@rule
def _end_guard(p, tables, action):
    is_over = p.frames >= tables.length[p.character, action]
    if (action == act.GUARD_ON and is_over) or (action == act.GUARD_STUN and p.age >= STUN_AGE):
        enter(p, act.GUARD, tables)
    elif action == act.GUARD_OFF and is_over:
        enter(p, act.WAIT, tables)


@rule
def _end_special(p, tables, action):
    lasts = tables.lasts[p.character, action]
    if lasts > 0 and p.frames >= lasts:
        follows = tables.next[p.character, action]
        if follows == act.SPECIAL_FALL:
            fall_helpless(p, action, tables)
        else:
            enter(p, follows, tables)
    elif p.frames >= max(LONGEST_SPECIAL, tables.length[p.character, action]):
        idle(p, tables)


@rule
def _end_by_length(p, tables, action):
    length = tables.length[p.character, min(action, act.ACTIONS - 1)]
    if p.frames < length or action == act.SHIELD_BREAK_FALL:
        return
    follows = _follows(action)
    if action == act.AIR_DODGE:
        fall_helpless(p, 0, tables)
    elif follows > 0:
        enter(p, follows, tables)
    elif action in (act.LEDGE_JUMP, act.LEDGE_JUMP_SLOW):
        _ledge_jump(p, tables, action)
    elif action == act.DTILT:
        enter(p, act.SQUAT_WAIT if p.stick_y <= controls.CROUCH else act.SQUAT_RISE, tables)
    else:
        if tables.path[p.character, action] >= 0:
            p.ground_speed = 0.0
        idle(p, tables)


@rule
def _follows(action):
    """The second part of an action that has two; 0 if it has not."""
    if action in (
        act.LEDGE_CATCH, act.TEETER, act.REBOUND_STOP, act.SHIELD_BREAK_FLY,
        act.DOWN_BOUND_UP, act.DOWN_BOUND_DOWN, act.DOWN_HURT_UP, act.DOWN_HURT_DOWN,
    ):  # fmt: skip
        return action + 1
    if action == act.SHIELD_BREAK_DOWN or action == act.SHIELD_BREAK_STAND:
        return action + 2
    return 0


@rule
def _ledge_jump(p, tables, action):
    leave_ground(p)
    enter(p, action + 1, tables)

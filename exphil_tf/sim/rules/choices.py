"""What a player may begin on this frame, in the game's order of precedence."""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls
from exphil_tf.sim.rules.air_jumps import (
    FLOAT,
    FLOAT_FALL_B,
    FLOAT_FALL_F,
    FLOAT_FRAMES,
    FLOAT_NAIR,
    MULTI_JUMPS,
    PEACH,
    air_jump,
    float_down,
    float_on,
)
from exphil_tf.sim.rules.change import begin_dash, drop_through, enter
from exphil_tf.sim.rules.motion import start_air_dodge

STEEP = math.tan(math.radians(50))
NEUTRAL, SIDE, UP, DOWN = 0, 1, 2, 3
RUN_STICK = 0.62
LEDGE_WAIT_FRAMES = 30
SLOW_PERCENT = 100.0


@rule
def choose(match, p, a, tables):
    """Begins what the controller asks for, if the action under way allows it."""
    if p.action < act.REBIRTH_WAIT or p.hitlag > 0:
        return
    if p.action == act.REBIRTH_WAIT:
        _leave_halo(p, tables)
    elif p.grounded:
        _choose_on_ground(match, p, a, tables)
    elif p.action == act.LEDGE_WAIT:
        _choose_on_ledge(p, tables)
    else:
        _choose_in_air(p, a, tables)


@rule
def _leave_halo(p, tables):
    moved = abs(p.stick_x) > 0 or abs(p.stick_y) > 0 or p.pressed != 0 or p.frames >= 300
    if moved:
        enter(p, act.FALL, tables)
        p.safe_frames = 120


# -- On the ground -----------------------------------------------------------------------------


@rule
def _choose_on_ground(match, p, a, tables):
    action = p.action
    if act.WAIT <= action <= act.WALK_FAST or action in (
        act.SQUAT_RISE, act.TEETER, act.TEETER_WAIT,
    ):  # fmt: skip
        _stand_options(p, a, tables)
    elif action == act.LANDING:
        if p.frames >= a.landing_lag:
            _stand_options(p, a, tables)
    elif action == act.SQUAT or action == act.SQUAT_WAIT:
        _squat_options(match, p, a, tables)
    elif action == act.TURN:
        _turn_options(p, a, tables)
    elif action == act.DASH:
        _dash_options(p, a, tables)
    elif action in (act.RUN, act.RUN_BRAKE, act.TURN_RUN):
        _run_options(p, a, tables)
    elif action == act.JUMPSQUAT:
        _jumpsquat_options(p, tables)
    elif act.GUARD_ON <= action <= act.GUARD_REFLECT:
        _guard_options(match, p, a, tables)
    elif _reflects(p):
        _start_jump(p, tables)
    elif act.JAB_1 <= action <= act.DSMASH:
        free = tables.free_from[p.character, action]
        if free and p.age >= free:
            _stand_options(p, a, tables)


@rule
def _stand_options(p, a, tables):
    if (
        _special(p, tables)
        or _smash(p, tables)
        or _tilt(p, tables)
        or _grab(p, tables, act.GRAB)
        or _shield(p, tables)
        or _start_jump(p, tables)
    ):
        return
    if p.action != act.SQUAT_RISE and controls.wants_dash(p, 1 if p.facing > 0 else -1):
        begin_dash(p, a, tables, 1.0)
    elif p.stick_y <= controls.CROUCH:
        enter(p, act.SQUAT, tables)
    elif p.stick_x * p.facing < 0:
        enter(p, act.TURN, tables)
        p.flag = controls.wants_dash(p, -1 if p.facing > 0 else 1)
    else:
        _walk(p, a, tables)


@rule
def _walk(p, a, tables):
    speed = abs(p.ground_speed)
    is_walking = act.WALK_SLOW <= p.action <= act.WALK_FAST
    if p.stick_x == 0:
        if is_walking:
            enter(p, act.WAIT, tables)
        return
    if speed >= a.walk_fast:
        kind = act.WALK_FAST
    elif speed >= a.walk_middle:
        kind = act.WALK_MIDDLE
    else:
        kind = act.WALK_SLOW
    if p.action != kind:
        enter(p, kind, tables)


@rule
def _start_jump(p, tables):
    if not controls.wants_jump(p):
        return False
    most = tables.attributes[p.character].run_max
    p.ground_speed = min(max(p.ground_speed, -most), most)
    enter(p, act.JUMPSQUAT, tables)
    p.number = 1.0 if controls.jumps_by_stick(p) else 0.0
    return True


@rule
def _shield(p, tables):
    if not controls.holds_shield(p):
        return False
    if p.action == act.DASH or p.action == act.RUN:
        p.ground_speed *= DASH_TURN
    enter(p, act.GUARD_ON, tables)
    return True


@rule
def _grab(p, tables, action):
    wants = p.pressed & controls.Z or (p.pressed & controls.A and controls.holds_shield(p))
    if not wants:
        return False
    enter(p, action, tables)
    return True


@rule
def _special(p, tables):
    if not p.pressed & controls.B:
        return False
    if p.stick_y >= controls.SPECIAL_Y:
        kind = UP
    elif p.stick_y <= -controls.SPECIAL_Y:
        kind = DOWN
    elif abs(p.stick_x) >= controls.SPECIAL_X:
        kind = SIDE
    else:
        kind = NEUTRAL
    action = tables.special[p.character, 0 if p.grounded else 1, kind]
    if action == 0:
        return False
    if kind in (SIDE, NEUTRAL) and p.stick_x * p.facing < 0:
        p.facing = -p.facing
    enter(p, action, tables)
    return True


@rule
def _smash(p, tables):
    x, y = controls.c_flick_x(p), controls.c_flick_y(p)
    if p.pressed & controls.A:
        if abs(p.stick_x) >= controls.SMASH_X and p.tilt_x < controls.SMASH_FRAMES:
            x = 1 if p.stick_x > 0 else -1
        elif abs(p.stick_y) >= controls.SMASH_Y and p.tilt_y < controls.SMASH_FRAMES:
            y = 1 if p.stick_y > 0 else -1
    if x != 0:
        p.facing = float(x)
        enter(p, act.FSMASH, tables)
    elif y > 0:
        enter(p, act.USMASH, tables)
    elif y < 0:
        enter(p, act.DSMASH, tables)
    return x != 0 or y != 0


@rule
def _tilt(p, tables):
    if not p.pressed & controls.A or controls.holds_shield(p):
        return False
    x, y = p.stick_x, p.stick_y
    if abs(x) >= controls.TILT and abs(y) <= STEEP * abs(x):
        p.facing = 1.0 if x > 0 else -1.0
        enter(p, act.FTILT, tables)
    elif y >= controls.TILT:
        enter(p, act.UTILT, tables)
    elif y <= -controls.TILT:
        enter(p, act.DTILT, tables)
    else:
        enter(p, act.JAB_1, tables)
    return True


@rule
def _squat_options(match, p, a, tables):
    if _special(p, tables) or _smash(p, tables):
        return
    if _tilt(p, tables) or _grab(p, tables, act.GRAB) or _shield(p, tables):
        return
    if _start_jump(p, tables):
        return
    on_platform = tables.lines[match.stage, p.line].soft
    if p.action == act.SQUAT and on_platform and p.frames == 3 and p.stick_y <= controls.DROP:
        drop_through(p, a, tables)
    elif p.action == act.SQUAT_WAIT and p.stick_y > controls.CROUCH:
        enter(p, act.SQUAT_RISE, tables)


@rule
def _turn_options(p, a, tables):
    """A flick (`flag`) turns on the next frame, else it takes some; a dash begins as it faces."""
    faces = 1 if p.flag == FLICKED else int(a.turn_faces)
    side = -1 if p.facing > 0 else 1
    if p.frames == 1 and p.flag != FLICKED and controls.dashes_back(p, side):
        p.facing = float(side)
        begin_dash(p, a, tables, 1.0)
        p.flag = FLICKED
        return
    before = p.facing
    if p.frames <= faces:
        p.facing = -before
    if _special(p, tables) or _grab(p, tables, act.GRAB):
        return
    if _smash(p, tables) or _tilt(p, tables):
        return
    if p.frames < faces:
        p.facing = before
    if _shield(p, tables) or _start_jump(p, tables):
        return
    if p.frames < faces and controls.wants_dash(p, side):
        p.flag = max(p.flag, ASKED)
    if p.frames == faces and p.flag != 0 and p.stick_x * p.facing >= controls.DASH:
        begin_dash(p, a, tables, 1.0)
        p.flag = FLICKED


FLICKED, ASKED = 1, 2
"""Flags: of a turn, or a dash that came of one; of a turn whose dash was asked for on the way."""
DASH_TURN = 0.25
"""Share of a dash's speed that is left by what cuts it short."""
DASH_SMASH_FRAMES = 3


@rule
def _dash_options(p, a, tables):
    fresh = p.frames <= DASH_SMASH_FRAMES and p.flag != FLICKED
    if _special(p, tables) or (fresh and _dash_smash(p, tables)):
        p.ground_speed *= DASH_TURN
        return
    if _grab(p, tables, act.DASH_GRAB):
        return
    if p.pressed & controls.A:
        enter(p, act.DASH_ATTACK, tables)
    elif controls.wants_dash(p, -1 if p.facing > 0 else 1):
        p.ground_speed *= DASH_TURN
        enter(p, act.TURN, tables)
        p.flag = FLICKED
    elif p.frames >= 4 and controls.wants_dash(p, 1 if p.facing > 0 else -1):
        begin_dash(p, a, tables, DASH_TURN)
    elif _shield(p, tables) or _start_jump(p, tables):
        pass
    elif p.frames >= a.run_frame and p.stick_x * p.facing >= RUN_STICK:
        enter(p, act.RUN, tables)


@rule
def _dash_smash(p, tables):
    """Out of a dash's first frames, whatever the stick did before."""
    if p.pressed & controls.A and p.stick_x * p.facing >= controls.SMASH_X:
        enter(p, act.FSMASH, tables)
        return True
    return _smash(p, tables)


@rule
def _run_options(p, a, tables):
    if p.action != act.RUN_BRAKE and p.action != act.TURN_RUN:
        if _special(p, tables) or _grab(p, tables, act.DASH_GRAB):
            return
        if p.pressed & controls.A:
            enter(p, act.DASH_ATTACK, tables)
            return
        if _shield(p, tables):
            return
    if _start_jump(p, tables):
        return
    forwards = p.stick_x * p.facing
    if p.action == act.RUN:
        if forwards <= -0.3:
            enter(p, act.TURN_RUN, tables)
        elif forwards < RUN_STICK:
            enter(p, act.RUN_BRAKE, tables)
    elif p.action == act.RUN_BRAKE:
        if p.stick_y <= controls.CROUCH:
            enter(p, act.SQUAT, tables)
        elif forwards <= -0.3:
            enter(p, act.TURN_RUN, tables)


@rule
def _jumpsquat_options(p, tables):
    if p.pressed & controls.A and p.stick_y >= controls.SMASH_Y or controls.c_flick_y(p) > 0:
        enter(p, act.USMASH, tables)
    elif p.pressed & controls.B and p.stick_y >= controls.SPECIAL_Y:
        _special(p, tables)
    else:
        _grab(p, tables, act.GRAB)


@rule
def _guard_options(match, p, a, tables):
    action = p.action
    if action == act.GUARD_STUN:
        return
    if action == act.GUARD_OFF:
        _start_jump(p, tables)
        return
    if p.pressed & (controls.A | controls.Z):
        enter(p, act.GRAB, tables)
    elif _start_jump(p, tables):
        pass
    elif (p.stick_y <= -0.7 and p.tilt_y < 4) or controls.c_flick_y(p) < 0:
        if tables.lines[match.stage, p.line].soft and p.stick_y > -0.7:
            drop_through(p, a, tables)
        else:
            enter(p, act.SPOT_DODGE, tables)
    elif (abs(p.stick_x) >= 0.7 and p.tilt_x < 4) or controls.c_flick_x(p) != 0:
        side = p.stick_x if abs(p.stick_x) >= 0.7 else p.c_x
        enter(p, act.ROLL_F if side * p.facing > 0 else act.ROLL_B, tables)
    elif tables.lines[match.stage, p.line].soft and p.stick_y <= controls.DROP and p.tilt_y < 6:
        drop_through(p, a, tables)
    elif not controls.holds_shield(p) and p.frames >= 8:
        enter(p, act.GUARD_OFF, tables)


@rule
def _reflects(p):
    """Fox and Falco: out of the reflector one may jump."""
    return (p.character == FOX or p.character == FALCO) and SHINE <= p.action <= SHINE_LAST


FOX, FALCO, SHINE, SHINE_LAST = 1, 22, 360, 369


# -- In the air --------------------------------------------------------------------------------


@rule
def _choose_in_air(p, a, tables):
    action = p.action
    if act.JUMP_F <= action <= act.FALL_AERIAL_B or action == act.PLATFORM_DROP:
        _air_options(p, a, tables, True)
    elif act.NAIR <= action <= act.DAIR:
        free = tables.free_from[p.character, action]
        if free and p.age >= free:
            _air_options(p, a, tables, True)
    elif action >= act.SPECIAL_FIRST:
        _choose_in_special(p, a, tables)
    elif action == act.TUMBLE:
        if not _air_options(p, a, tables, False) and (
            abs(p.stick_x) >= controls.DASH and p.tilt_x < DASH_OUT
        ):
            enter(p, act.FALL, tables)
    elif act.DAMAGE_FIRST <= action <= act.DAMAGE_LAST and p.hitstun <= 0:
        _air_options(p, a, tables, False)


DASH_OUT = 2


@rule
def _choose_in_special(p, a, tables):
    """Out of the jumps of those who have many, and Peach's float."""
    action = p.action
    first = int(a.multi_jump)
    if _reflects(p):
        air_jump(p, a, tables)
    elif first > 0 and first <= action < first + MULTI_JUMPS:
        _air_options(p, a, tables, True)
    elif p.character == PEACH and action == FLOAT:
        if _special(p, tables):
            return
        if _aerial(p, tables):
            enter(p, FLOAT_NAIR + p.action - act.NAIR, tables)
        elif not controls.holds_any_jump(p) or p.frames >= FLOAT_FRAMES:
            backwards = p.stick_x * p.facing <= -0.25
            enter(p, FLOAT_FALL_B if backwards else FLOAT_FALL_F, tables)
    elif p.character == PEACH and FLOAT_FALL_F <= action <= FLOAT_FALL_B:
        _air_options(p, a, tables, True)


@rule
def _air_options(p, a, tables, may_dodge):
    if _special(p, tables) or _aerial(p, tables):
        return True
    if may_dodge and p.pressed & (controls.L | controls.R):
        start_air_dodge(p)
        p.fast_falls = 0
        enter(p, act.AIR_DODGE, tables)
        return True
    if may_dodge and float_down(p, tables):
        return True
    if air_jump(p, a, tables):
        return True
    return may_dodge and float_on(p, tables)


@rule
def _aerial(p, tables):
    x, y = p.stick_x, p.stick_y
    if controls.c_flick_x(p) != 0 or controls.c_flick_y(p) != 0:
        x, y = p.c_x, p.c_y
    elif not p.pressed & (controls.A | controls.Z):
        return False
    if abs(x) < controls.TILT and abs(y) < controls.TILT:
        action = act.NAIR
    elif abs(y) > STEEP * abs(x):
        action = act.UAIR if y > 0 else act.DAIR
    else:
        action = act.FAIR if x * p.facing > 0 else act.BAIR
    enter(p, action, tables)
    return True


@rule
def _choose_on_ledge(p, tables):
    slow = p.percent >= SLOW_PERCENT
    if p.frames < 1:
        return
    if controls.wants_jump(p):
        enter(p, act.LEDGE_JUMP_SLOW if slow else act.LEDGE_JUMP, tables)
    elif p.pressed & (controls.L | controls.R):
        enter(p, act.LEDGE_ROLL_SLOW if slow else act.LEDGE_ROLL, tables)
    elif p.pressed & (controls.A | controls.B):
        enter(p, act.LEDGE_ATTACK_SLOW if slow else act.LEDGE_ATTACK, tables)
    elif p.stick_y <= -0.3 or p.stick_x * p.facing <= -0.3:
        if p.tilt_x < 2 or p.tilt_y < 2:
            p.ledge_wait = LEDGE_WAIT_FRAMES
            p.fast_falls = 0
            enter(p, act.FALL, tables)
    elif (p.stick_y >= 0.3 or p.stick_x * p.facing >= 0.3) and (p.tilt_x < 2 or p.tilt_y < 2):
        enter(p, act.LEDGE_GETUP_SLOW if slow else act.LEDGE_GETUP, tables)

"""Speeds: what an action makes of them in a frame, and the step that follows.

Formulas are the game's: on the ground a speed goes to a target by an acceleration that the stick
scales, and back to it by friction; in the air the same with drift, and gravity. Friction doubles
above walking speed. (Published: see `docs/simulator.md`.)
"""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls

AIR_DODGE_SPEED, AIR_DODGE_DECAY, AIR_DODGE_FRAMES = 3.1, 0.9, 29
KNOCKBACK_DECAY = 0.051
HALO_FRAMES = 60
"""Frames in which the halo comes down."""
CURVE_FRAMES = 60
"""Frames of an air jump that an animation moves, for those who have one."""
SLOW, KEEP, SET, SCALE, BRAKE = 1, 2, 3, 4, 5
"""Kinds of flight of special moves; 0 is that of everything else."""
WALK_SLOWS = 0.5
"""Share of the acceleration that is left of a walk's beginning, before it fades towards its top."""


@rule
def approach(speed, target, gain, loss):
    """A speed after a frame: towards the target by `gain`, back to it by `loss`."""
    if target > 0:
        if speed > target:
            return max(target, speed - loss)
        return min(target, speed + gain)
    if target < 0:
        if speed < target:
            return min(target, speed + loss)
        return max(target, speed - gain)
    if speed > 0:
        return max(0.0, speed - loss)
    return min(0.0, speed + loss)


@rule
def rub(p, a, times):
    """Friction on the ground."""
    friction = a.friction * times
    grabs = act.GRAB <= p.action <= act.DASH_GRAB
    if abs(p.ground_speed) > a.walk_max and not grabs and p.action != act.RUN_BRAKE:
        friction *= 2
    p.ground_speed = approach(p.ground_speed, 0.0, 0.0, friction)


@rule
def drift(p, a, share):
    """The stick's pull in the air."""
    x = p.stick_x
    gain = abs(x) * a.drift_stick + a.drift_base
    p.vx = approach(p.vx, x * a.drift_max * share, gain, a.air_friction)


@rule
def fall(p, a):
    """Gravity, or a fast fall that was asked for."""
    if (
        not p.fast_falls
        and p.vy < 0
        and p.stick_y <= controls.FAST_FALL
        and p.tilt_y < controls.FAST_FALL_FRAMES
    ):
        p.fast_falls = 1
        p.tilt_y = controls.LONG_AGO
    if p.fast_falls:
        p.vy = -a.fast_fall
    else:
        sink(p, a)


@rule
def sink(p, a):
    """Gravity alone."""
    p.vy = max(p.vy - a.gravity, -a.terminal)


@rule
def _walk(p, a):
    target = p.stick_x * a.walk_max
    gain = abs(p.stick_x) * a.walk_stick + a.walk_base
    if target != 0:
        part = p.ground_speed / target
        if 0 < part < 1:
            gain *= (1 - part) * WALK_SLOWS
    p.ground_speed = approach(p.ground_speed, target, gain, a.friction)


@rule
def _run(p, a):
    gain = abs(p.stick_x) * a.run_stick + a.run_base
    p.ground_speed = approach(p.ground_speed, p.stick_x * a.run_max, gain, a.friction)


@rule
def _follow(p, tables):
    """An action that moves by itself; False if this one does not."""
    row = tables.path[p.character, min(p.action, act.ACTIONS - 1)]
    if row < 0:
        return False
    at = int(p.age) - 1
    if at < 0 or at >= tables.length[p.character, p.action]:
        return False
    side = p.facing
    if p.action in (act.ROLL_B, act.TECH_B, act.DOWN_ROLL_B_UP, act.DOWN_ROLL_B_DOWN):
        side = -side
    turn = tables.turns[p.character, p.action]
    if turn and p.age >= turn:
        side = -side
    p.ground_speed = tables.steps[row + at, 0] * side
    return True


@rule
def ground_speed(p, a, tables):
    """The ground speed of this frame, by action; and what the position follows."""
    action = p.action
    if action == act.DASH and p.frames == 0:
        _start_dash(p, a)
        return
    if act.WALK_SLOW <= action <= act.WALK_FAST:
        _walk(p, a)
    elif action in (act.DASH, act.RUN):
        _run(p, a)
    elif action == act.TURN_RUN:
        _turn_run(p, a)
    elif action >= act.JAB_1 and _follow(p, tables):
        pass
    else:
        rub(p, a, 1.0)
    p.vx = p.ground_speed
    p.vy = 0.0


@rule
def _start_dash(p, a):
    """The step of a dash's first frame is still that of the action before."""
    start = a.dash_speed * p.facing
    p.ground_speed = p.ground_speed + start if p.ground_speed * p.facing < 0 else start


@rule
def _turn_run(p, a):
    gain = abs(p.stick_x) * a.run_stick + a.run_base
    p.ground_speed = approach(p.ground_speed, p.stick_x * a.run_max, gain, a.friction)


@rule
def air_speed(p, a, tables):
    """The speed in the air of this frame, by action."""
    action = p.action
    if (action == act.JUMP_F or action == act.JUMP_B) and p.frames == 0:
        return
    if action == act.AIR_DODGE:
        _dodge(p, a)
    elif act.DAMAGE_FIRST <= action <= act.DAMAGE_LAST and p.hitstun > 0:
        p.vx = approach(p.vx, 0.0, 0.0, a.air_friction)
        sink(p, a)
    elif action == act.TUMBLE or act.SPECIAL_FALL <= action <= act.SPECIAL_FALL_B:
        drift(p, a, 1.0)
        fall(p, a)
    elif act.LEDGE_CATCH <= action < act.TAUNT_R and action not in (
        act.LEDGE_JUMP_2, act.LEDGE_JUMP_SLOW_2,
    ):  # fmt: skip
        p.vx = 0.0
        p.vy = 0.0
    elif action < act.WAIT:
        _hover(p)
    elif act.SPECIAL_FIRST <= action < act.ACTIONS:
        _fly_special(p, a, tables)
    elif act.AIR_JUMP_F <= action <= act.AIR_JUMP_B and p.frames < CURVE_FRAMES:
        drift(p, a, 1.0)
        curve = tables.air_jump[p.character, p.frames]
        if curve == 0:
            fall(p, a)
        else:
            p.vy = curve
    else:
        drift(p, a, 1.0)
        fall(p, a)


@rule
def _hover(p):
    """The halo comes down at a steady speed; the dead do not move."""
    p.vx = 0.0
    if p.action == act.DEAD_STAR:
        return
    if p.action != act.REBIRTH or p.frames >= HALO_FRAMES:
        p.vy = 0.0


@rule
def _fly_special(p, a, tables):
    kind, value = tables.x_kind[p.character, p.action], tables.x_value[p.character, p.action]
    if kind == SLOW:
        p.vx = approach(p.vx, 0.0, 0.0, value)
    elif kind == SET:
        p.vx = value * p.facing
    elif kind == SCALE:
        p.vx *= value
    elif kind != KEEP and kind != BRAKE:
        drift(p, a, 1.0)
    if tables.flies_from[p.character, p.action] > p.age + 0.5:
        return
    if kind == BRAKE:
        _brake(p, value)
        return
    kind, value = tables.y_kind[p.character, p.action], tables.y_value[p.character, p.action]
    if kind == SLOW:
        p.vy = max(p.vy - value, -a.terminal)
    elif kind == SET:
        p.vy = value
    elif kind == SCALE:
        p.vy *= value
    elif kind != KEEP:
        fall(p, a)


@rule
def _brake(p, loss):
    """Slower along the flight."""
    size = math.hypot(p.vx, p.vy)
    if size > 0:
        left = max(0.0, size - loss) / size
        p.vx *= left
        p.vy *= left


@rule
def _dodge(p, a):
    if p.frames < AIR_DODGE_FRAMES:
        p.vx *= AIR_DODGE_DECAY
        p.vy *= AIR_DODGE_DECAY
    else:
        drift(p, a, 1.0)
        fall(p, a)


@rule
def start_air_dodge(p):
    """The speed of an air dodge before its first frame."""
    size = math.hypot(p.stick_x, p.stick_y)
    p.vx = AIR_DODGE_SPEED * p.stick_x / size if size > 0 else 0.0
    p.vy = AIR_DODGE_SPEED * p.stick_y / size if size > 0 else 0.0


@rule
def lose_knockback(p, a):
    """A frame's decay of the speed that a hit gave."""
    if p.kx == 0 and p.ky == 0:
        return
    lies = p.action == act.DOWN_BOUND_UP or p.action == act.DOWN_BOUND_DOWN
    if p.grounded and not (lies and p.flag):
        p.kx = approach(p.kx, 0.0, 0.0, a.friction)
        p.ky = 0.0
        return
    size = math.hypot(p.kx, p.ky)
    left = max(0.0, size - KNOCKBACK_DECAY) / size
    p.kx *= left
    p.ky *= left

"""Speeds: what an action makes of them in a frame, and the step that follows.

Formulas are the game's: on the ground a speed goes to a target by an acceleration that the stick
scales, and back to it by friction; in the air the same with drift, and gravity. Friction doubles
above walking speed. (Published: see `docs/simulator.md`.)
"""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls

AIR_DODGE_SPEED, AIR_DODGE_DECAY = 3.1, 0.9
KNOCKBACK_DECAY = 0.051
HALO_FRAMES = 60
"""Frames in which the halo comes down."""
CURVE_FRAMES = 60
"""Frames of an air jump that an animation moves, for those who have one."""
SLOW, KEEP, SET, SCALE, BRAKE, TABLE, STICK = 1, 2, 3, 4, 5, 6, 7
FLOAT = 7
"""Kinds of flight of special moves; 0 is that of everything else."""
WALK_SLOWS, RUN_SLOWS = 0.5, 0.4
"""Share of the acceleration that is left of a walk's or a run's beginning, before it fades towards
its top."""


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
    if p.fast_falls or falls_fast(p):
        p.vy = -a.fast_fall
    else:
        sink(p, a)


@rule
def falls_fast(p):
    """Begins a fast fall, if it is asked for."""
    if p.vy >= 0 or p.stick_y > controls.FAST_FALL or p.tilt_y >= controls.FAST_FALL_FRAMES:
        return False
    p.fast_falls = 1
    p.tilt_y = controls.LONG_AGO
    return True


@rule
def sink(p, a):
    """Gravity alone."""
    p.vy = max(p.vy - a.gravity, -a.terminal)


@rule
def _walk(p, a):
    target = p.stick_x * a.walk_max
    gain = abs(p.stick_x) * a.walk_stick + a.walk_base
    gain = _fading(p, target, gain, WALK_SLOWS)
    p.ground_speed = approach(p.ground_speed, target, gain, a.friction)


@rule
def _fading(p, target, gain, share):
    if target == 0:
        return gain
    part = p.ground_speed / target
    return gain * (1 - part) * share if 0 < part < 1 else gain


@rule
def _dash(p, a):
    gain = abs(p.stick_x) * a.run_stick + a.run_base
    p.ground_speed = approach(p.ground_speed, p.stick_x * a.run_max, gain, a.friction)


@rule
def _run(p, a):
    target = p.stick_x * a.run_max
    gain = _fading(p, target, abs(p.stick_x) * a.run_stick + a.run_base, RUN_SLOWS)
    p.ground_speed = approach(p.ground_speed, target, gain, a.friction)


@rule
def _follow(p, tables):
    """An action that moves by itself; False if this one does not."""
    action = min(p.action, act.ACTIONS - 1)
    row, length = tables.path[p.character, action], tables.path_length[p.character, action]
    if row < 0 or p.age <= 0 or p.age - p.rate >= length:
        return False
    side = p.facing
    if not tables.measured[p.character, action]:
        if action in (act.ROLL_B, act.TECH_B, act.DOWN_ROLL_B_UP, act.DOWN_ROLL_B_DOWN):
            side = -side
        turn = tables.turns[p.character, action]
        if turn and p.age >= turn:
            side = -side
    p.ground_speed = travel(p, tables, row, length, 0) * side
    return True


@rule
def travel(p, tables, row, length, axis):
    """Movement of an animation between the ages before and after this frame."""
    since = max(p.age - p.rate, 0.0)
    way = 0.0
    at = int(since)
    while at < p.age and at < length:
        way += tables.steps[row + at, axis] * (min(p.age, at + 1.0) - max(since, float(at)))
        at += 1
    return way


@rule
def ground_speed(p, a, tables):
    """The ground speed of this frame, by action; and what the position follows."""
    action = p.action
    if action == act.DASH and p.frames == 0:
        _start_dash(p, a)
        return
    if act.WALK_SLOW <= action <= act.WALK_FAST:
        _walk(p, a)
    elif action == act.DASH:
        _dash(p, a)
    elif action == act.RUN:
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
    p.vx = p.ground_speed
    p.ground_speed += p.number


@rule
def _turn_run(p, a):
    """Speeds up in the new direction alone; else it brakes."""
    began = p.facing if p.flag < 2 else -p.facing
    target = p.stick_x * a.run_max
    if target * began >= 0:
        p.ground_speed = approach(p.ground_speed, 0.0, 0.0, a.friction)
        return
    side = 1.0 if target > 0 else -1.0
    gain = abs(p.stick_x) * a.run_stick + a.run_base
    if (p.ground_speed * side) + gain > abs(target):
        gain = max(gain - a.friction, abs(target) - p.ground_speed * side)
    p.ground_speed += gain * side


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
    elif act.SPECIAL_FALL <= action <= act.SPECIAL_FALL_B:
        _fall_helpless(p, a, tables)
    elif act.LEDGE_CATCH <= action < act.TAUNT_R and action not in (
        act.LEDGE_JUMP_2, act.LEDGE_JUMP_SLOW_2,
    ):  # fmt: skip
        p.vx = 0.0
        p.vy = 0.0
    elif action < act.WAIT:
        _hover(p)
    elif act.SPECIAL_FIRST <= action < act.ACTIONS or _has_air_path(p, tables):
        _fly_special(p, a, tables)
    elif act.AIR_JUMP_F <= action <= act.AIR_JUMP_B and p.frames < CURVE_FRAMES:
        drift(p, a, 1.0)
        curve = tables.air_jump[p.character, action - act.AIR_JUMP_F, p.frames]
        if curve == 0:
            fall(p, a)
        else:
            p.vy = curve
    else:
        drift(p, a, 1.0)
        fall(p, a)


@rule
def _fall_helpless(p, a, tables):
    """After a special move, the drift is that move's share, and so is the speed downwards."""
    after = p.helpless
    if after == 0:
        drift(p, a, 1.0)
        fall(p, a)
        return
    most = a.drift_max * tables.fall_drift[p.character, after]
    target = min(max(p.stick_x * a.drift_max, -most), most)
    p.vx = approach(p.vx, target, abs(p.stick_x) * a.drift_stick + a.drift_base, a.air_friction)
    if p.fast_falls or falls_fast(p):
        p.vy = -a.fast_fall
    else:
        bottom = tables.fall_bottom[p.character, after]
        p.vy = max(p.vy - a.gravity, -(bottom if bottom > 0 else a.terminal))


@rule
def _hover(p):
    """The halo comes down at a steady speed, a falling star too; the other dead do not move."""
    p.vx = 0.0
    if p.action == act.DEAD_STAR:
        return
    if p.action != act.REBIRTH or p.frames >= HALO_FRAMES:
        p.vy = 0.0


@rule
def _has_air_path(p, tables):
    action = min(p.action, act.ACTIONS - 1)
    return action >= act.GRAB_WAIT and tables.air_path[p.character, action] >= 0


@rule
def _in_table(p, tables):
    """Whether the recorded speeds of this action reach to this frame."""
    return p.age > 0 and p.age - p.rate < tables.air_length[p.character, p.action]


@rule
def _fly_special(p, a, tables):
    if p.frames == 0:
        p.vx *= tables.keeps_x[p.character, p.action]
    _fly_along(p, a, tables)
    _fly_up(p, a, tables)
    if p.frames == 0 and not math.isnan(tables.starts_y[p.character, p.action]):
        p.vy = tables.starts_y[p.character, p.action]


@rule
def _fly_along(p, a, tables):
    who, action = p.character, p.action
    later = p.age >= tables.x_since[who, action]
    kind = tables.x_then[who, action] if later else tables.x_kind[who, action]
    value = tables.x_more[who, action] if later else tables.x_value[who, action]
    if kind == TABLE and _in_table(p, tables):
        way = travel(p, tables, tables.air_path[who, action], tables.air_length[who, action], 0)
        p.vx = way * p.facing
    elif kind == SLOW:
        p.vx = approach(p.vx, 0.0, 0.0, value)
    elif kind == SET:
        p.vx = value * p.facing
    elif kind == SCALE:
        p.vx *= value
    elif kind == STICK:
        x = p.stick_x * value
        p.vx = approach(p.vx, x * a.drift_max, abs(x) * a.drift_stick, a.air_friction)
    elif kind != KEEP and kind != BRAKE:
        drift(p, a, 1.0)


@rule
def _fly_up(p, a, tables):
    who, action = p.character, p.action
    later = p.age >= tables.y_since[who, action]
    kind = tables.y_then[who, action] if later else tables.y_kind[who, action]
    value = tables.y_more[who, action] if later else tables.y_value[who, action]
    if kind == TABLE and _in_table(p, tables):
        p.vy = travel(p, tables, tables.air_path[who, action], tables.air_length[who, action], 1)
    elif kind == BRAKE:
        _brake(p, value)
    elif kind == SLOW:
        p.vy = max(p.vy - value, -a.terminal)
    elif kind == SET:
        p.vy = value
    elif kind == SCALE:
        p.vy *= value
    elif kind == FLOAT and p.vy == 0 and controls.holds_any_jump(p):
        pass
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
    if p.frames < a.dodge_frames:
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

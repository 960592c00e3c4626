"""Jumps in the air, of those who have many too, and Peach's float."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls
from exphil_tf.sim.rules.change import enter

PEACH = 9
FLOAT, FLOAT_FALL_F, FLOAT_FALL_B, FLOAT_NAIR, FLOAT_FRAMES = 341, 342, 343, 344, 150
MULTI_JUMPS, MULTI_JUMP_FRAMES = 5, 28
DIP_FRAMES = 12


@rule
def float_down(p, tables):
    """Peach: once in the air, at any time with the stick down and X or Y held."""
    if p.character != PEACH or p.floated or p.stick_y > controls.DROP:
        return False
    if not p.buttons & (controls.X | controls.Y):
        return False
    return _begin_float(p, tables)


@rule
def float_on(p, tables):
    """And when the rise is over, with a jump held; a jump in the air begins with a dip."""
    if p.character != PEACH or p.floated or p.vy > 0 or not controls.holds_any_jump(p):
        return False
    if act.AIR_JUMP_F <= p.action <= act.AIR_JUMP_B and p.frames < DIP_FRAMES:
        return False
    return _begin_float(p, tables)


@rule
def _begin_float(p, tables):
    p.floated = 1
    p.vy = 0.0
    enter(p, FLOAT, tables)
    return True


@rule
def _multi_jump(p, a, tables):
    """One of many jumps: from the second on, holding is enough, once the last is over."""
    used = int(a.jumps) - p.jumps
    if p.jumps < 1 or p.frames < MULTI_JUMP_FRAMES and p.action >= act.SPECIAL_FIRST:
        return False
    if not (controls.wants_jump(p) if used == 1 else controls.holds_any_jump(p)):
        return False
    p.jumps -= 1
    p.fast_falls = 0
    p.air_frames = 0
    p.vx = p.stick_x * a.air_jump_stick
    enter(p, int(a.multi_jump) + used - 1, tables)
    return True


@rule
def air_jump(p, a, tables):
    """A jump in the air, if one is left; whether it began."""
    if a.multi_jump > 0:
        return _multi_jump(p, a, tables)
    if p.jumps < 1 or not controls.wants_jump(p):
        return False
    p.jumps -= 1
    p.fast_falls = 0
    p.air_frames = 0
    p.tilt_y = controls.LONG_AGO
    p.vx = p.stick_x * a.air_jump_stick
    p.vy = a.air_jump_speed + a.gravity
    backwards = p.stick_x * p.facing <= -0.25
    enter(p, act.AIR_JUMP_B if backwards else act.AIR_JUMP_F, tables)
    return True

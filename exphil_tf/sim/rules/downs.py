"""Getting up from the ground: in place, rolling, or with an attack."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls
from exphil_tf.sim.rules.change import enter

STICK = controls.TILT


@rule
def choose(p, tables):
    """What who lies does; at once if it is asked for when the bounce ends."""
    if p.hitlag > 0 or (p.action != act.DOWN_WAIT_UP and p.action != act.DOWN_WAIT_DOWN):
        return
    is_up = p.action == act.DOWN_WAIT_UP
    forwards = p.stick_x * p.facing
    if p.buttons & (controls.A | controls.B) or controls.c_flick_x(p) or controls.c_flick_y(p):
        enter(p, act.DOWN_ATTACK_UP if is_up else act.DOWN_ATTACK_DOWN, tables)
    elif abs(forwards) >= STICK and abs(forwards) >= abs(p.stick_y):
        _roll(p, is_up and p.frames > 0, forwards > 0, tables)
    elif p.stick_y >= STICK or p.pressed & (controls.L | controls.R):
        enter(p, act.DOWN_STAND_UP if is_up else act.DOWN_STAND_DOWN, tables)


@rule
def _roll(p, is_up, forwards, tables):
    if is_up:
        enter(p, act.DOWN_ROLL_F_UP if forwards else act.DOWN_ROLL_B_UP, tables)
    else:
        enter(p, act.DOWN_ROLL_F_DOWN if forwards else act.DOWN_ROLL_B_DOWN, tables)

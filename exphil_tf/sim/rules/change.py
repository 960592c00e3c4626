"""From one action to another, and what every change resets."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule

LONG_AGO = 254
DROP_SPEED = -0.5
"""Of who drops through a platform, before its first frame in the air."""


@rule
def enter(p, action, tables):
    """Begins an action; its first frame is the one under way."""
    p.action = action
    p.frames = 0
    p.age = tables.begins_at[p.character, min(action, act.ACTIONS - 1)]
    p.rate = float(tables.begins_rate[p.character, min(action, act.ACTIONS - 1)])
    p.number = 0.0
    p.flag = 0
    p.struck = 0
    p.used = 0
    p.use += 1


@rule
def leave_ground(p):
    """Into the air, at the speed of the ground."""
    p.grounded = 0
    p.air_frames = 0
    p.feet = 0.0
    p.fast_falls = 0
    p.ground_speed = 0.0
    if p.jumps > 1:
        p.jumps -= 1


@rule
def fall_helpless(p, after, tables):
    """Begins a special fall, after an air dodge (`after` 0) or a special move; see `motion`."""
    enter(p, act.SPECIAL_FALL, tables)
    p.helpless = after


@rule
def drop_through(p, a, tables):
    """Through the platform that is stood on."""
    leave_ground(p)
    p.vx = min(max(p.vx, -a.drift_max), a.drift_max)
    p.vy = DROP_SPEED
    p.tilt_y = LONG_AGO
    enter(p, act.PLATFORM_DROP, tables)


@rule
def begin_dash(p, a, tables, share):
    """A dash; `share` of the speed before is left, and its first frame brings the rest."""
    start = a.dash_speed * p.facing
    p.ground_speed, gain = p.ground_speed * share, start - p.ground_speed
    enter(p, act.DASH, tables)
    p.number = start if p.ground_speed * p.facing < 0 else gain
    p.tilt_x = LONG_AGO


@rule
def touch_ground(p, line, a):
    """On a line, at the speed of the fall's horizontal part."""
    p.grounded = 1
    p.line = line
    p.ground_speed = p.vx
    p.fast_falls = 0
    p.floated = 0
    p.jumps = int(a.jumps)


@rule
def idle(p, tables):
    """What nothing else is: standing or falling."""
    enter(p, act.WAIT if p.grounded else act.FALL, tables)

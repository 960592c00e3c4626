"""From one action to another, and what every change resets."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule


@rule
def enter(p, action, tables):
    """Begins an action; its first frame is the one under way."""
    p.action = action
    p.frames = 0
    p.age = tables.begins_at[p.character, min(action, act.ACTIONS - 1)]
    p.rate = 0.0 if action in (act.GUARD_ON, act.GUARD, act.GUARD_REFLECT) else 1.0
    p.number = 0.0
    p.flag = 0
    p.struck = 0
    p.used = 0


@rule
def leave_ground(p):
    """Into the air, at the speed of the ground."""
    p.grounded = 0
    p.air_frames = 0
    p.fast_falls = 0
    p.ground_speed = 0.0
    if p.jumps > 1:
        p.jumps -= 1


@rule
def touch_ground(p, line, a):
    """On a line, at the speed of the fall's horizontal part."""
    p.grounded = 1
    p.line = line
    p.ground_speed = p.vx
    p.fast_falls = 0
    p.jumps = int(a.jumps)


@rule
def idle(p, tables):
    """What nothing else is: standing or falling."""
    enter(p, act.WAIT if p.grounded else act.FALL, tables)

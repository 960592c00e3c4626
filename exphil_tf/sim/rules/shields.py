"""Shields: what they cost, what they take, and when they break."""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules.change import enter

FULL = 60.0
DRAIN, REGAIN = 0.28, 0.07
"""Of the shield in a frame: while it is held, and while it is not."""
DAMAGE = 0.7
"""Of the shield for a unit of damage, which counts in whole units."""
STUN_BASE, STUN_SHARE, STUN_AGES = 4.45, 2.235, 20.0
"""Frames of shieldstun: damage and the first, over the second; its animation has the third."""
PUSH_BASE, PUSH_SHARE, MOST_PUSH = 0.24, 0.054, 2.0
SMALLEST = 0.3
"""Share of its radius that an empty shield has."""
BROKEN = 30.0
BREAK_SPEED = 2.5


@rule
def is_up(p):
    """Whether a shield is out."""
    return act.GUARD_ON <= p.action <= act.GUARD_REFLECT and p.action != act.GUARD_OFF


@rule
def covers(p, x, y, size, tables):
    """Whether a hitbox meets the shield; x and y from the shielder's position."""
    bubble = tables.bubbles[p.character]
    radius = bubble.radius * (SMALLEST + (1.0 - SMALLEST) * p.shield / FULL)
    reach = radius + size
    x -= bubble.x * p.facing
    up = y - bubble.y
    return x * x + up * up < reach * reach


@rule
def block(p, dealt, side, tables):
    """A hit on the shield.

    Args:
      p: `PLAYER` record of the shielder.
      dealt: damage, staled.
      side: 1 or -1, away from the attacker.
      tables: `TABLES` record.
    """
    damage = math.floor(dealt + 1e-4)
    p.shield -= DAMAGE * damage
    if p.shield < 0:
        _break(p, tables)
        return
    enter(p, act.GUARD_STUN, tables)
    p.rate = STUN_AGES * STUN_SHARE / (damage + STUN_BASE)
    p.ground_speed = side * min(MOST_PUSH, PUSH_BASE + PUSH_SHARE * damage)


@rule
def hold(p, tables):
    """A frame's cost of holding, or what comes back."""
    if p.hitlag > 0 or p.action <= act.REBIRTH_WAIT:
        return
    if p.action in (act.GUARD_ON, act.GUARD, act.GUARD_REFLECT):
        p.shield -= DRAIN
        if p.shield < 0:
            _break(p, tables)
    elif p.action != act.GUARD_STUN:
        p.shield = min(FULL, p.shield + REGAIN)


@rule
def _break(p, tables):
    p.shield = BROKEN
    p.grounded = 0
    p.air_frames = 0
    p.ground_speed = 0.0
    p.vx = 0.0
    p.vy = BREAK_SPEED
    enter(p, act.SHIELD_BREAK_FLY, tables)

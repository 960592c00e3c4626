"""What a hit makes of its victim: launch, hitstun, hitlag, and what its stick can do about it.

Formulas are published ones (SmashWiki, doldecomp/melee), each held against recorded games:
`docs/simulator.md` says how well.
"""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls
from exphil_tf.sim.rules.change import enter, leave_ground

LAUNCH = 0.03
"""Speed that a unit of knockback gives, units a frame."""
STUN = 0.4
"""Frames of hitstun that it gives."""
TUMBLES = 80.0
MIDDLE_STUN, HARD_STUN = 10, 21
"""Hitstun from which a flinch is a middling and a hard one."""
CROUCH = 2.0 / 3.0
BOUNCE = 0.8
MOST_PERCENT = 999.0
MOST_LAG = 20.0
CHARGED = 0.3671
"""What a full charge adds to a smash attack's damage, of all of it."""
SAKURAI = 361.0
SAKURAI_LOW, SAKURAI_HIGH, SAKURAI_GROUND, SAKURAI_AIR = 32.0, 32.1, 44.0, 45.0
MOST_INFLUENCE = math.radians(18.0)
SHIFT, SMASH_SHIFT = 3.0, 6.0
"""Units that the stick moves who is in hitlag: on its last frame, and at each new push."""
SMASH_STICK, SMASH_FRAMES = 0.7, 4
HIGH, LOW = 1.5, -0.2
"""Shares of a body's height between which a hit is a middle one (most often right)."""
UPWARDS = 70.0, 110.0
"""Launch angles between which one flies with the feet up."""


@rule
def strength(percent, hit, damage, dealt, weight):
    """Knockback of a hit.

    Args:
      percent: before it.
      hit: `HIT` or `THROW` record.
      damage: fresh, charged.
      dealt: damage as it is dealt, staled.
      weight: of the victim.
    """
    if hit.set > 0:
        pull = 1.0 + hit.set / 2.0
    else:
        after = math.floor(percent) + dealt
        pull = after / 10.0 + after * damage / 20.0
    pull = pull * 1.4 * 200.0 / (weight + 100.0) + 18.0
    return pull * hit.growth / 100.0 + hit.base


@rule
def hitlag(dealt):
    """Frames for which both stand still."""
    return min(MOST_LAG, float(math.floor(dealt / 3.0 + 3.0)))


@rule
def launch_angle(angle, knockback, grounded):
    """Degrees; those of 361 depend on the hit."""
    if angle != SAKURAI:
        return float(angle)
    if not grounded:
        return SAKURAI_AIR
    share = (knockback - SAKURAI_LOW) / (SAKURAI_HIGH - SAKURAI_LOW)
    return SAKURAI_GROUND * min(max(share, 0.0), 1.0)


@rule
def launch(p, knockback, angle, height, tables):
    """Sends a player off.

    Args:
      p: `PLAYER` record of the victim.
      knockback: strength.
      angle: degrees, 0 to the right.
      height: of the contact, as a share of the body.
      tables: `TABLES` record.
    """
    speed = knockback * LAUNCH
    kx, ky = speed * math.cos(math.radians(angle)), speed * math.sin(math.radians(angle))
    was_grounded = p.grounded
    if abs(ky) < 1e-4:
        ky = 0.0
    if was_grounded and ky < 0:
        ky = -BOUNCE * ky if knockback >= TUMBLES else 0.0
    lies = _lies(p.action) and knockback < TUMBLES
    if was_grounded and ky > 0:
        leave_ground(p)
    p.kx = _stack(p.kx, kx)
    p.ky = _stack(p.ky, ky) if not p.grounded else 0.0
    p.vx = 0.0
    p.vy = 0.0
    p.ground_speed = 0.0
    p.fast_falls = 0
    if abs(kx) > 1e-4:
        p.facing = -1.0 if kx > 0 else 1.0
    stun = math.floor(knockback * STUN + 1e-4)
    action = _stagger(p.action, stun, height, was_grounded)
    if not lies and knockback >= TUMBLES and _is_up(angle):
        action = act.DAMAGE_FLY_TOP
    enter(p, action, tables)
    p.hitstun = float(stun)


@rule
def _is_up(angle):
    up = angle % 360.0
    return UPWARDS[0] < up < UPWARDS[1]


@rule
def _lies(action):
    return act.DOWN_BOUND_UP <= action <= act.DOWN_HURT_UP or (
        act.DOWN_BOUND_DOWN <= action <= act.DOWN_HURT_DOWN
    )


@rule
def _stack(old, new):
    """Speeds of two hits: the greater one if they agree, else both."""
    if old * new > 0:
        return old if abs(old) > abs(new) else new
    return old + new


@rule
def _stagger(before, stun, height, was_grounded):
    """The action of being hit, by how hard and where."""
    part = 0 if height > HIGH else (1 if height > LOW else 2)
    if stun >= TUMBLES * STUN:
        return act.DAMAGE_FLY_HIGH + part
    if _lies(before) and was_grounded:
        return act.DOWN_HURT_UP if before == act.DOWN_WAIT_UP else act.DOWN_HURT_DOWN
    level = 0 if stun < MIDDLE_STUN else (1 if stun < HARD_STUN else 2)
    if was_grounded:
        return act.DAMAGE_FIRST + 3 * part + level
    return act.DAMAGE_AIR_1 + level


# -- What the stick does about it ------------------------------------------------------------------


@rule
def smash_shift(p):
    """In hitlag: a new push of the stick moves the body (SDI)."""
    if p.hitlag <= 0 or not p.influence:
        return
    size = math.hypot(p.stick_x, p.stick_y)
    fresh = (p.tilt_x < SMASH_FRAMES and abs(p.stick_x) >= SMASH_STICK) or (
        p.tilt_y < SMASH_FRAMES and abs(p.stick_y) >= SMASH_STICK
    )
    if size < SMASH_STICK or not fresh:
        return
    p.x += SMASH_SHIFT * p.stick_x
    if not p.grounded:
        p.y += SMASH_SHIFT * p.stick_y
    p.tilt_x = controls.LONG_AGO
    p.tilt_y = controls.LONG_AGO


@rule
def end_hitlag(p):
    """The last frame of hitlag: the stick bends the launch (DI) and moves the body (ASDI)."""
    if not p.influence:
        return
    p.influence = 0
    bend(p)
    x, y = p.stick_x, p.stick_y
    if abs(p.c_x) > 0 or abs(p.c_y) > 0:
        x, y = p.c_x, p.c_y
    p.x += SHIFT * x
    if not p.grounded:
        p.y += SHIFT * y


@rule
def bend(p):
    """Turns the launch towards the stick, by up to 18 degrees where that is across it."""
    speed = math.hypot(p.kx, p.ky)
    if speed <= 0 or p.grounded:
        return
    across = (p.kx * p.stick_y - p.ky * p.stick_x) / speed
    turn = MOST_INFLUENCE * across * abs(across)
    cos, sin = math.cos(turn), math.sin(turn)
    kx, ky = p.kx, p.ky
    p.kx = kx * cos - ky * sin
    p.ky = kx * sin + ky * cos

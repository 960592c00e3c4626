"""Who hits whom on a frame, and what becomes of both."""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.hit_tables import SLOTS
from exphil_tf.sim.rules import grabs, knockback, shields, staling
from exphil_tf.sim.rules.change import enter
from exphil_tf.sim.rules.ends import CHARGE_FRAMES

NOTHING = -1
CLANK = 9.0
"""Difference of damage from which the stronger of two attacks on the ground goes on."""


@rule
def strike(match, players, tables):
    """Attacks that touch somebody do what they do; both at once, if both touch.

    Args:
      match: `MATCH` record.
      players: its `PLAYER` records `[2]`.
      tables: `TABLES` record.
    """
    for seat in range(2):
        _note_safety(players[seat], tables)
    _clash(players[0], players[1], tables)
    first = touch(players[0], players[1], tables)
    second = touch(players[1], players[0], tables)
    if first != NOTHING:
        _land(players[0], players[1], first, tables)
    if second != NOTHING:
        _land(players[1], players[0], second, tables)


@rule
def _note_safety(p, tables):
    """Invulnerable frames of rolls, dodges, techs and the like."""
    if p.action >= act.ACTIONS:
        return
    last = tables.safe_to[p.character, p.action]
    if last > 0 and tables.safe_from[p.character, p.action] <= p.age + 0.5 and p.age < last + 0.5:
        p.safe_frames = max(p.safe_frames, 2)


@rule
def box_row(p, tables):
    """Row of the hitboxes that are out on this frame; -1 if none are."""
    if p.action >= act.ACTIONS:
        return NOTHING
    row = tables.box_row[p.character, p.action]
    if row < 0:
        return NOTHING
    frame = int(p.age + 0.5) + tables.box_shift[p.character, p.action]
    first = tables.box_first[p.character, p.action]
    if frame < first or frame > tables.box_last[p.character, p.action]:
        return NOTHING
    row += frame - first
    return row if tables.boxes[row].window > 0 else NOTHING


@rule
def _clash(first, second, tables):
    """Two attacks on the ground that meet: the weaker one rebounds, or both do."""
    if not (first.grounded and second.grounded) or first.hitlag > 0 or second.hitlag > 0:
        return
    mine, theirs = box_row(first, tables), box_row(second, tables)
    if mine < 0 or theirs < 0 or not (_clashes(first, mine, tables)):
        return
    if not _clashes(second, theirs, tables):
        return
    pair = _meeting(first, second, mine, theirs, tables)
    if pair < 0:
        return
    ours = tables.kinds[tables.boxes[mine].kind[pair // SLOTS]].damage
    other = tables.kinds[tables.boxes[theirs].kind[pair % SLOTS]].damage
    first.struck = tables.boxes[mine].window
    second.struck = tables.boxes[theirs].window
    if ours - other < CLANK:
        _rebound(first, ours, tables)
    if other - ours < CLANK:
        _rebound(second, other, tables)


@rule
def _clashes(p, row, tables):
    """Whether an attack may clash: one that stands, and has touched nobody yet."""
    stands = act.JAB_1 <= p.action <= act.DSMASH
    return stands and tables.boxes[row].window != p.struck


@rule
def _meeting(first, second, mine, theirs, tables):
    """The hitboxes that meet: the first's slot × SLOTS + the second's; -1 if none do."""
    for one in range(SLOTS):
        if tables.boxes[mine].kind[one] < 0:
            continue
        for other in range(SLOTS):
            if tables.boxes[theirs].kind[other] < 0:
                continue
            x = first.x + tables.boxes[mine].x[one] * first.facing
            x -= second.x + tables.boxes[theirs].x[other] * second.facing
            y = first.y + tables.boxes[mine].y[one]
            y -= second.y + tables.boxes[theirs].y[other]
            reach = tables.boxes[mine].size[one] + tables.boxes[theirs].size[other]
            if x * x + y * y < reach * reach:
                return one * SLOTS + other
    return NOTHING


@rule
def _rebound(p, damage, tables):
    enter(p, act.REBOUND_STOP, tables)
    p.hitlag = knockback.hitlag(damage)
    p.ground_speed = 0.0


@rule
def may_be_hit(p):
    """Whether a player is there to be hit at all."""
    if p.action <= act.REBIRTH_WAIT or p.safe_frames > 1 or p.stock <= 0:
        return False
    return not grabs.is_held(p.action)


@rule
def touch(attacker, victim, tables):
    """Which hitbox meets the other's body or shield: row × 8 + slot × 2 + shield; -1 if none.

    Args:
      attacker: `PLAYER` record.
      victim: `PLAYER` record.
      tables: `TABLES` record.
    """
    row = box_row(attacker, tables)
    if row < 0 or attacker.hitlag > 0 or not may_be_hit(victim):
        return NOTHING
    window = tables.boxes[row].window
    is_grab = attacker.action == act.GRAB or attacker.action == act.DASH_GRAB
    if window == attacker.struck or (grabs.is_grabbing(attacker.action) and not is_grab):
        return NOTHING
    pose = tables.pose[int(victim.grounded), min(victim.action, act.ACTIONS - 1)]
    body = tables.bodies[victim.character, pose]
    centre = victim.x + body.x * victim.facing
    guarded = shields.is_up(victim) and not is_grab
    for slot in range(SLOTS):
        if tables.boxes[row].kind[slot] < 0:
            continue
        x = attacker.x + tables.boxes[row].x[slot] * attacker.facing - centre
        y = attacker.y + tables.boxes[row].y[slot] - victim.y
        size = tables.boxes[row].size[slot]
        if guarded and shields.covers(victim, x + body.x * victim.facing, y, size, tables):
            return row * 8 + slot * 2 + 1
        up = y - min(max(y, body.low), body.high)
        reach = size + body.radius
        if x * x + up * up < reach * reach:
            return row * 8 + slot * 2
    return NOTHING


@rule
def _land(attacker, victim, code, tables):
    row, slot, guarded = code // 8, (code % 8) // 2, code % 2
    attacker.struck = tables.boxes[row].window
    if attacker.action == act.GRAB or attacker.action == act.DASH_GRAB:
        if grabs.may_catch(victim):
            grabs.catch(attacker, victim, tables)
        return
    hit = tables.kinds[tables.boxes[row].kind[slot]]
    share = staling.share(attacker, hit.move)
    damage = hit.damage * charge(attacker)
    dealt = damage * share
    lag = knockback.hitlag(dealt)
    attacker.hitlag = lag
    side = _side(attacker, victim)
    if guarded:
        shields.block(victim, dealt, side, tables)
        victim.hitlag = lag
        return
    staling.remember(attacker, hit.move)
    body = tables.bodies[victim.character, 0]
    y = attacker.y + tables.boxes[row].y[slot] - victim.y
    height = (y - body.low) / max(body.high - body.low, 1.0)
    hurt(victim, hit, damage, dealt, lag, side, height, tables)


@rule
def charge(p):
    """What a charge multiplies an attack's damage by."""
    if not act.FSMASH_HIGH <= p.action <= act.DSMASH:
        return 1.0
    return 1.0 + knockback.CHARGED * p.number / CHARGE_FRAMES


@rule
def _side(attacker, victim):
    """1 if the victim is to the attacker's right, -1 to its left."""
    if victim.x == attacker.x:
        return attacker.facing
    return 1.0 if victim.x > attacker.x else -1.0


@rule
def hurt(victim, hit, damage, dealt, lag, side, height, tables):
    """Damage, hitlag and launch.

    Args:
      victim: `PLAYER` record.
      hit: `HIT` record.
      damage: fresh, charged.
      dealt: damage, staled.
      lag: the attacker's frames of hitlag.
      side: 1 or -1, away from the attacker.
      height: of the contact, as a share of the body.
      tables: `TABLES` record.
    """
    weight = tables.weight[victim.character]
    strength = knockback.strength(victim.percent, hit, damage, dealt, weight)
    victim.percent = min(knockback.MOST_PERCENT, victim.percent + dealt)
    crouches = victim.grounded and (victim.action == act.SQUAT or victim.action == act.SQUAT_WAIT)
    if hit.electric:
        lag = float(math.floor(1.5 * lag))
    if crouches:
        strength *= knockback.CROUCH
        lag = float(math.floor(knockback.CROUCH * lag + 1e-4))
    victim.hitlag = lag
    angle = knockback.launch_angle(hit.angle, strength, victim.grounded)
    if side < 0:
        angle = 180.0 - angle
    knockback.launch(victim, strength, angle, height, tables)
    victim.influence = 1

"""Projectiles: when they leave, how they fly, whom they meet.

What leaves at which age of which action, and what it does, is `data/shots.csv`. A shot leaves from
where the player stood before the frame's step, stays there for that frame and flies from the next.
A beam (a laser) reaches back from its tip to where it began, so far as its kind does.
"""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import hits, knockback, shields, staling
from exphil_tf.sim.rules.lines import is_there, line_count, line_ends, line_y
from exphil_tf.sim.state import SHOTS

HIT, BLOCKED = 1, 2
_AGE_STEP = 1e-3
_SLOWEST_BOUNCE = 0.1


@rule
def leave(match, p, seat, tables):
    """Begins what leaves a player on this frame, whose animation has just advanced.

    Args:
      match: `MATCH` record.
      p: `PLAYER` record.
      seat: which of the two it is.
      tables: `TABLES` record.
    """
    if p.hitlag > 0 or p.action >= act.ACTIONS:
        return
    first = tables.shot_first[p.character, p.action]
    for row in range(first, first + tables.shot_count[p.character, p.action]):
        kind = tables.shots[row]
        reaches = p.age > kind.age - _AGE_STEP
        if reaches and p.age - p.rate < kind.age - _AGE_STEP and kind.part <= p.levels:
            _begin(match, p, seat, row, tables)


@rule
def _begin(match, p, seat, row, tables):
    shots = match.shots
    kind = tables.shots[row]
    for at in range(SHOTS):
        if shots[at].kind > 0:
            continue
        shots[at].x, shots[at].y = p.x + kind.x * p.facing, p.y + kind.y
        shots[at].vx, shots[at].vy = kind.speed_x * p.facing, kind.speed_y
        shots[at].flown, shots[at].life, shots[at].use = 0.0, kind.life, p.use
        shots[at].share = staling.share(p, move_of(kind, p))
        shots[at].kind, shots[at].owner = row + 1, seat
        shots[at].fresh, shots[at].struck = 1, 0
        return


@rule
def fly(match, players, tables):
    """Moves every shot and lets it hit.

    Args:
      match: `MATCH` record.
      players: its `PLAYER` records `[2]`.
      tables: `TABLES` record.
    """
    shots = match.shots
    for at in range(SHOTS):
        shots[at].struck = 0
        if shots[at].kind <= 0:
            continue
        if not shots[at].fresh:
            _step(match, shots[at], tables)
        if shots[at].kind > 0:
            owner = shots[at].owner
            _meet(shots[at], players[owner], players[1 - owner], tables)
    _settle(shots)


@rule
def _settle(shots):
    """What is new takes the lowest slot that is free now, as items do where they are recorded."""
    for at in range(SHOTS):
        if shots[at].kind <= 0 or not shots[at].fresh:
            continue
        shots[at].fresh = 0
        for lower in range(at):
            if shots[lower].kind <= 0:
                shots[lower] = shots[at]
                shots[at].kind = 0
                break


@rule
def _step(match, shot, tables):
    """A frame of flight; a life that is over, the ground and the blast zones end it."""
    kind = tables.shots[shot.kind - 1]
    way = 1.0 if shot.vx >= 0 else -1.0
    shot.vx += kind.gain_x * way
    shot.vy += kind.gain_y
    old_y = shot.y
    shot.x += shot.vx
    shot.y += shot.vy
    shot.flown += math.hypot(shot.vx, shot.vy)
    shot.life -= 1
    stage = tables.stages[match.stage]
    inside = stage.left < shot.x < stage.right and shot.y > stage.bottom  # no top ends a shot
    if shot.life <= 0 or not inside:
        shot.kind = 0
    elif shot.vy < 0:
        _touch_ground(match, shot, old_y, kind, tables)


@rule
def _touch_ground(match, shot, old_y, kind, tables):
    for line in range(line_count(match, tables)):
        if not is_there(match, tables, line):
            continue
        left, right = line_ends(match, tables, line)
        if not left <= shot.x <= right:
            continue
        ground = line_y(match, tables, line, shot.x)
        if shot.y < ground <= old_y:
            if kind.keeps_y <= 0 or -shot.vy * kind.keeps_y < _SLOWEST_BOUNCE:
                shot.kind = 0
                return
            shot.y = ground
            shot.vx *= kind.keeps_x
            shot.vy *= -kind.keeps_y
            return


@rule
def _meet(shot, owner, victim, tables):
    kind = tables.shots[shot.kind - 1]
    if kind.hit.damage <= 0 or not hits.may_be_hit(victim):
        return
    pose = tables.pose[int(victim.grounded), min(victim.action, act.ACTIONS - 1)]
    body = tables.bodies[victim.character, pose]
    middle = victim.y + (body.low + body.high) / 2.0
    x, y = _nearest(shot, kind, victim.x + body.x * victim.facing, middle)
    if shields.is_up(victim) and shields.covers(
        victim, x - victim.x, y - victim.y, kind.size, tables
    ):
        _hit(shot, owner, victim, True, 0.5, tables)
        return
    x -= victim.x + body.x * victim.facing
    y -= victim.y
    up = y - min(max(y, body.low), body.high)
    reach = kind.size + body.radius
    if x * x + up * up < reach * reach:
        height = (y - body.low) / max(body.high - body.low, 1.0)
        _hit(shot, owner, victim, False, height, tables)


@rule
def _nearest(shot, kind, x, y):
    """The point of a shot, or of the way that it has just come, that is nearest to a place."""
    speed = math.hypot(shot.vx, shot.vy)
    back = min(max(kind.tail, speed), shot.flown)
    if speed <= 0 or back <= 0:
        return shot.x, shot.y
    along_x, along_y = shot.vx / speed, shot.vy / speed
    ago = (shot.x - x) * along_x + (shot.y - y) * along_y
    ago = min(max(ago, 0.0), back)
    return shot.x - ago * along_x, shot.y - ago * along_y


@rule
def move_of(kind, owner):
    """The move that a shot is of: a throw's are that throw's, though all look alike."""
    move = kind.hit.move
    throws = act.THROW_F <= owner.action <= act.THROW_LOW
    if throws and staling.FIRST_THROW <= move <= staling.LAST_THROW:
        move = staling.FIRST_THROW + owner.action - act.THROW_F
    return move


@rule
def _hit(shot, owner, victim, guarded, height, tables):
    """What it does; a shot is over then."""
    kind = tables.shots[shot.kind - 1]
    dealt = kind.hit.damage * shot.share
    lag = knockback.hitlag(dealt) if kind.flinches else 0.0
    way = 1.0 if shot.vx >= 0 else -1.0
    shot.kind = 0
    if guarded:
        shot.struck = BLOCKED
        shields.block(victim, dealt, way, tables)
        victim.hitlag = lag
        return
    shot.struck = HIT
    staling.remember_shot(owner, move_of(kind, owner), shot.use)
    if kind.flinches:
        hits.hurt(victim, kind.hit, kind.hit.damage, dealt, lag, way, height, tables)
    else:
        victim.percent = min(knockback.MOST_PERCENT, victim.percent + dealt)

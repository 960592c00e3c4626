"""Blast zones, stocks, coming back, and when a match is over."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls, grabs, staling
from exphil_tf.sim.rules.change import enter
from exphil_tf.sim.rules.motion import HALO_FRAMES

DEAD_FRAMES = 60
STAR_FRAMES, STAR_BACK_FRAMES, STAR_FALL = 131, 176, 0.92
"""Off the top: frames until the stock is lost and until one comes back, and the fall's speed."""
TOWARDS_FRAMES, AHEAD_FRAMES, AHEAD_BACK_FRAMES = 51, 43, 78
"""Towards the camera: frames until it is hit, from then on until the stock is lost, and until one
comes back."""
SAFE_FRAMES = 120
SKY = 900.0
"""Height above which nobody is left, whatever carries them there."""
STAR_SPEED = 2.4
"""Knockback upwards from which the upper zone takes a stock; slower ones only pass it."""


@rule
def live_or_die(match, seat, players, tables):
    """Takes a stock of who has left the stage, and brings back who has lost one."""
    p = players[seat]
    if p.action == act.DEAD_STAR:
        _fall_away(match, seat, p, tables)
        return
    if p.action == act.DEAD_TOWARDS or p.action == act.DEAD_AHEAD:
        _fall_ahead(match, seat, p, tables)
        return
    if p.action < act.DEAD_STAR:
        if p.frames >= DEAD_FRAMES:
            _come_back(match, seat, p, tables)
        return
    if p.action == act.REBIRTH:
        if p.frames >= HALO_FRAMES:
            enter(p, act.REBIRTH_WAIT, tables)
            p.vy = 0.0
        return
    zones = tables.stages[match.stage]
    below = p.y
    if grabs.is_held(p.action):  # who is carried along is looked at before the step
        below -= players[1 - seat].vy + players[1 - seat].ky
    if below < zones.bottom:
        _die(match, p, act.DEAD_DOWN, tables)
    elif p.x < zones.left:
        _die(match, p, act.DEAD_LEFT, tables)
    elif p.x > zones.right:
        _die(match, p, act.DEAD_RIGHT, tables)
    elif (p.y > zones.top and p.ky > STAR_SPEED) or p.y > SKY:
        _rest(p)
        p.vy = -STAR_FALL
        enter(p, act.DEAD_STAR, tables)


@rule
def _die(match, p, action, tables):
    _lose(match, p)
    _rest(p)
    enter(p, action, tables)


@rule
def _lose(match, p):
    p.stock -= 1
    p.percent = 0.0
    p.shield = 60.0
    staling.forget(p)
    if p.stock <= 0:
        match.over = 1


@rule
def _fall_away(match, seat, p, tables):
    """Off the top: far behind the stage first, and a stock less some two seconds later."""
    if p.frames == STAR_FRAMES:
        _lose(match, p)
        p.vy = 0.0
    elif p.frames >= STAR_BACK_FRAMES:
        _come_back(match, seat, p, tables)


@rule
def _fall_ahead(match, seat, p, tables):
    """Off the top, towards the camera: the game draws by lot who falls so; no rule begins it."""
    if p.action == act.DEAD_TOWARDS:
        if p.frames >= TOWARDS_FRAMES:
            enter(p, act.DEAD_AHEAD, tables)
    elif p.frames == AHEAD_FRAMES:
        _lose(match, p)
    elif p.frames >= AHEAD_BACK_FRAMES:
        _come_back(match, seat, p, tables)


@rule
def _rest(p):
    p.vx = 0.0
    p.vy = 0.0
    p.kx = 0.0
    p.ky = 0.0
    p.ground_speed = 0.0
    p.hitlag = 0.0
    p.hitstun = 0.0
    p.influence = 0
    p.grounded = 0
    p.fast_falls = 0
    p.safe_frames = 0


@rule
def _come_back(match, seat, p, tables):
    if p.stock <= 0:
        return
    stage = tables.stages[match.stage]
    _rest(p)
    p.x = stage.halo_x[seat]
    p.vy = -stage.halo_speed
    p.y = stage.halo_y + (HALO_FRAMES - 1) * stage.halo_speed
    p.facing = -1.0 if p.x >= 0 else 1.0
    p.jumps = int(tables.attributes[p.character].jumps)
    p.tilt_x = controls.LONG_AGO
    p.tilt_y = controls.LONG_AGO
    enter(p, act.REBIRTH, tables)


@rule
def count_down(match):
    """Ends a match whose time is up."""
    if match.frame >= match.limit:
        match.over = 1

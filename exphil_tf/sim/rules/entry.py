"""The countdown: players appear, drop onto the stage and wait for GO."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls, ends, floors, motion
from exphil_tf.sim.rules.change import enter

ENTRY_START_FRAME, ENTRY_END_FRAME, DROP_FRAME = -118, -89, -59
"""Frames on which they begin, as recorded."""
DROP_HEIGHT = 7.0


@rule
def enter_stage(match, players, pads, tables):
    """A frame before GO: whatever is held, nobody acts."""
    for seat in range(2):
        p = players[seat]
        controls.read_input(p, pads[seat])
        if match.frame < DROP_FRAME:
            _appear(match, p)
        else:
            _drop(match, p, tables)


@rule
def _appear(match, p):
    p.age = -1.0
    if match.frame < ENTRY_START_FRAME:
        p.action = act.ENTRY
    elif match.frame < ENTRY_END_FRAME:
        p.action = act.ENTRY_START
    else:
        p.action = act.ENTRY_END


@rule
def _drop(match, p, tables):
    p.stick_x = 0.0
    p.stick_y = 0.0
    a = tables.attributes[p.character]
    if match.frame == DROP_FRAME:
        enter(p, act.FALL, tables)
        return
    ends.advance(p, a, tables)
    if p.grounded:
        motion.ground_speed(p, a, tables)
        floors.walk_on(match, p, a, tables)
    else:
        motion.air_speed(p, a, tables)
        floors.fly_on(match, p, a, tables)

"""Stages' sides and undersides: what a body in the air may not pass through.

A side is a profile of corners from the ledge down, the same left and right; a body is a point at a
height above the feet, so far from the profile as the character is wide. In the game a body is a
diamond that its animation moves; the fitted width is the middle of what recorded contacts show.
"""

from exphil_tf.sim.compiled import rule
from exphil_tf.sim.stage_lines import MAX_CORNERS

MIDDLE = 6.0
"""Height of a body's widest point above the position."""
OUTSIDE = 0.01


@rule
def side_x(stage, y):
    """|x| of the side at a height; -1 above and below it."""
    for at in range(MAX_CORNERS - 1):
        y0, y1 = stage.side[at, 1], stage.side[at + 1, 1]
        if y0 >= y > y1:
            part = (y - y0) / (y1 - y0)
            return stage.side[at, 0] + (stage.side[at + 1, 0] - stage.side[at, 0]) * part
    return -1.0


@rule
def keep_out(match, p, a, tables, old_x, old_y):
    """Stops a step at a side that it would cross; an underside stops a rise."""
    stage = tables.stages[match.stage]
    top = stage.side[0, 1]
    middle = min(p.y + MIDDLE, top - OUTSIDE) if p.y < top - MIDDLE_LEAST else p.y + MIDDLE
    now = side_x(stage, middle)
    if now < 0 or abs(p.x) - a.girth >= now:
        return
    old_middle = min(old_y + MIDDLE, top - OUTSIDE)
    before = side_x(stage, old_middle)
    if before >= 0 and abs(old_x) - a.girth >= before - 0.5:
        p.x = (now + a.girth) * (1.0 if old_x > 0 else -1.0)
    elif before < 0 and old_middle < top and p.y > old_y:
        p.y = old_y
        p.vy = min(p.vy, 0.0)


MIDDLE_LEAST = 1.0
"""Who is this far below the ledge is beside the stage, however tall."""

"""Stages' sides and undersides: what a body in the air may not pass through.

A side is a profile of corners from the ledge down, the same left and right. A body is a diamond, as
in the game: the feet below, corners to both sides half way up, the head as far above them. A side
keeps all of it out, an underside stops the head. Sides of Pokémon Stadium's forms are alike, and
stop who walks, too.
"""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import stadium
from exphil_tf.sim.stadium_lines import FIRST
from exphil_tf.sim.stage_lines import MAX_CORNERS, side_table

SLIM, MIDDLE = 2.0, 8.0
"""Half width (the game's least), and height of the side corners above the position, of a pose that
no game shows beside a side."""
ON_GROUND, AT_WALL = 4.7, 1.0
"""That height of who stands, and half width of who has just hit a wall, as recorded beside rock."""
FLATTEST = 0.5
"""Least height of the side corners above the feet."""
SLACK = 4.0
"""How far inside of a side one may have been and yet be kept out of it."""
GAP = 0.1
"""How far above an underside the head may be and yet be stopped by it."""
GIVES = 1.0
"""How far inside of a form's side one may have been and yet be kept out of it."""
BESIDE = 16.0
"""How far from the stage nobody touches it."""
SIDES = len(side_table())
NOWHERE = -1e9
"""In place of an x, of what is not beside a side."""


@rule
def keep_out(match, p, tables, old_x, old_y, old_feet):
    """Stops a step at a side that it would cross; an underside stops a rise.

    Args:
      match: `MATCH` record.
      p: `PLAYER` record, after its step.
      tables: `TABLES` record.
      old_x: where it was.
      old_y: alike.
      old_feet: height of the feet above that.
    """
    if p.action >= act.WAIT:
        keep_off(match, p, tables, old_x, old_y)
    stage = tables.stages[match.stage]
    top = stage.side[0, 1]
    if p.action < act.WAIT or p.y + p.feet >= top or abs(p.x) > stage.edge + BESIDE:
        return
    wide, middle = _diamond(p, tables)
    tall = max(middle - p.feet, FLATTEST)
    if p.y > old_y:
        _stop_rise(stage, p, old_y, p.feet + 2.0 * tall)
    least = _least_x(stage, p.y + p.feet, tall, wide)
    if abs(p.x) >= least:
        return
    if old_y + old_feet >= top:
        part = (old_y + old_feet - top) / (old_y + old_feet - p.y - p.feet)
        comes_beside = abs(old_x + part * (p.x - old_x)) >= stage.edge
    else:
        comes_beside = abs(old_x) >= _least_x(stage, old_y + old_feet, tall, wide) - SLACK
    if comes_beside:
        p.x = least if old_x > 0 else -least


@rule
def keep_off(match, p, tables, old_x, old_y):
    """Stops a step at a side of one of Pokémon Stadium's forms; arguments as of `keep_out`."""
    if stadium.is_plain(match):
        return
    wide, middle = _diamond(p, tables)
    feet = 0.0 if p.grounded else p.feet
    tall = max(middle - feet, FLATTEST)
    for row in range(SIDES):
        side = tables.form_sides[row]
        if side.form != FIRST and side.form != match.form and side.form != match.coming:
            continue
        least = _form_x(match, side, 0, p.y + feet, tall, wide)
        if side.out * p.x >= least:
            continue
        before = _form_x(match, side, 1, old_y + feet, tall, wide)
        if side.out * old_x >= (before if before > NOWHERE else least) - GIVES:
            p.x = side.out * least


@rule
def _form_x(match, side, ago, low, tall, wide):
    """How near to a form's side a diamond may be, counted outwards; or might so many frames ago."""
    y0, y1 = side.y0, side.y1
    if side.form != FIRST:
        y0 = stadium.height(match, side.form, y0, ago)
        y1 = stadium.height(match, side.form, y1, ago)
    return _nearest_x(side.out * side.x0, y0, side.out * side.x1, y1, low, tall, wide)


@rule
def _nearest_x(x0, y0, x1, y1, low, tall, wide):
    """How near a part of a side lets a diamond, counted outwards; `NOWHERE` above or below it."""
    found = NOWHERE
    for corner in range(3):
        y = low + corner * tall
        if y0 != y1 and min(y0, y1) <= y <= max(y0, y1):
            reach = wide if corner == 1 else 0.0
            found = max(found, x0 + (x1 - x0) * (y0 - y) / (y0 - y1) + reach)
    return max(found, _corner_x(x0, y0 - low, tall, wide), _corner_x(x1, y1 - low, tall, wide))


@rule
def _corner_x(x, up, tall, wide):
    """Alike, of a corner so far above the feet."""
    share = 1.0 - abs(up - tall) / tall
    return x + wide * share if share > 0 else NOWHERE


@rule
def _diamond(p, tables):
    """Half width, and height of the side corners above the position."""
    action = min(p.action, act.ACTIONS - 1)
    row = tables.side_row[p.character, action]
    if row < 0:
        is_thin = action == act.WALL_TECH or action == act.WALL_TECH_JUMP or action == act.WALL_HIT
        return AT_WALL if is_thin else SLIM, ON_GROUND if p.grounded else MIDDLE
    at = row + min(max(int(p.age + 0.5), 0), tables.side_last[p.character, action])
    return tables.sides[at, 0], tables.sides[at, 1]


@rule
def _stop_rise(stage, p, old_y, head):
    """An underside that the head would pass through."""
    for at in range(MAX_CORNERS - 1):
        x0, y0 = stage.side[at, 0], stage.side[at, 1]
        x1, y1 = stage.side[at + 1, 0], stage.side[at + 1, 1]
        if not _is_underside(x0, y0, x1, y1) or not min(x0, x1) <= abs(p.x) <= max(x0, x1):
            continue
        under = y0 + (y1 - y0) * (abs(p.x) - x0) / (x1 - x0)
        if old_y + head <= under + GAP and p.y + head > under:
            p.y = max(under - head, old_y)


@rule
def _is_underside(x0, y0, x1, y1):
    return abs(x1 - x0) > abs(y1 - y0)


@rule
def _least_x(stage, low, tall, wide):
    """|x| below which a diamond overlaps the stage's side; below 0 where it is not beside it."""
    found = -1.0
    for at in range(MAX_CORNERS - 1):
        x0, y0 = stage.side[at, 0], stage.side[at, 1]
        x1, y1 = stage.side[at + 1, 0], stage.side[at + 1, 1]
        if y0 <= low:
            break
        if y1 >= low + 2.0 * tall or y0 <= y1 or _is_underside(x0, y0, x1, y1):
            continue
        found = max(found, _nearest_x(x0, y0, x1, y1, low, tall, wide))
    return found

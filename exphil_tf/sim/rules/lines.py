"""The lines of a stage: which are there, where they are at the moment, and which they join."""

from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import moving, stadium
from exphil_tf.sim.stage_lines import NO_LINE, OF_A_FORM

RANDALL = 3
"""`moving` of his line."""
STEP = 0.3
"""Highest step that is no edge."""


@rule
def line_count(match, tables):
    """How many rows of its stage's lines may be there, from the first on."""
    stage = tables.stages[match.stage]
    return stage.lines if stadium.is_plain(match) else stage.all_lines


@rule
def is_there(match, tables, line):
    """Whether one of those is."""
    return stadium.stands(match, tables.lines[match.stage, line])


@rule
def line_y(match, tables, line, x):
    """Height of a line at x."""
    return line_y_ago(match, tables, line, x, 0)


@rule
def line_y_ago(match, tables, line, x, ago):
    """That of so many frames ago, of Pokémon Stadium's forms."""
    here = tables.lines[match.stage, line]
    if here.moving == 0 or here.moving == OF_A_FORM:
        height = here.y0
        if here.y0 != here.y1:
            height = here.y0 + (here.y1 - here.y0) * (x - here.x0) / (here.x1 - here.x0)
        return height if here.moving == 0 else stadium.height(match, here.form, height, ago)
    if here.moving == RANDALL:
        return tables.randall[match.frame % 1200, 1]
    return moving.height(match.heights[here.moving - 1])


@rule
def line_ends(match, tables, line):
    """Its first and last x."""
    here = tables.lines[match.stage, line]
    if here.moving != RANDALL:
        return here.x0, here.x1
    centre = tables.randall[match.frame % 1200, 0]
    return centre + here.x0, centre + here.x1


@rule
def line_slope(match, tables, line):
    """Its rise for a unit to the right."""
    here = tables.lines[match.stage, line]
    if here.moving != OF_A_FORM:
        return (here.y1 - here.y0) / (here.x1 - here.x0)
    rise = line_y(match, tables, line, here.x1) - line_y(match, tables, line, here.x0)
    return rise / (here.x1 - here.x0)


@rule
def line_at(match, tables, line, x):
    """The line that is at x, of those that a line joins; the last of them beyond their end."""
    left, right = line_ends(match, tables, line)
    while x > right and joined(match, tables, line, 1) >= 0:
        line = joined(match, tables, line, 1)
        left, right = line_ends(match, tables, line)
    while x < left and joined(match, tables, line, -1) >= 0:
        line = joined(match, tables, line, -1)
        left, right = line_ends(match, tables, line)
    return line


@rule
def joined(match, tables, line, side):
    """The line that one goes on in, to the right (1) or left (-1); below 0 at an edge."""
    here = tables.lines[match.stage, line]
    other = here.right if side > 0 else here.left
    if stadium.is_plain(match) or (other >= 0 and _goes_on(match, tables, line, other, side)):
        return other
    if here.moving == OF_A_FORM:
        return NO_LINE
    for row in range(line_count(match, tables)):
        one = tables.lines[match.stage, row]
        back = one.left if side > 0 else one.right
        if back == line and _goes_on(match, tables, line, row, side):
            return row
    return NO_LINE


@rule
def _goes_on(match, tables, line, other, side):
    """Whether two lines that join on a side do so at the moment, and neither has sunk."""
    if not is_there(match, tables, other):
        return False
    here = tables.lines[match.stage, line]
    end = here.x1 if side > 0 else here.x0
    return abs(line_y(match, tables, line, end) - line_y(match, tables, other, end)) < STEP

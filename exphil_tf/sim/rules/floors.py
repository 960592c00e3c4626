"""What stands under whom: walking along lines, over edges, and landing on them from above."""

import math

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import controls, stadium, walls
from exphil_tf.sim.rules.change import enter, leave_ground, touch_ground
from exphil_tf.sim.rules.lines import (
    RANDALL,
    is_there,
    line_at,
    line_count,
    line_ends,
    line_slope,
    line_y,
    line_y_ago,
)
from exphil_tf.sim.stage_lines import GAP, OF_A_FORM
from exphil_tf.sim.tables import FEET_AGES, FEET_BINS

UP_AT_ENDS = 1.0
"""So far above a form's line that goes under the outer ground one comes up onto that."""
OVERHANG = 0.1
"""How far past a line's end one still stands."""
FEET_LOCKED_FRAMES = 10
"""Frames after leaving the ground or a jump in the air during which feet stay as they were."""
LANDING_AGES = 30.1
"""Every landing's animation has these; it runs faster or slower to fit its lag."""
CANCEL_FRAMES = 7
SPECIAL_LAG = 10
TECH_FRAMES = 20
SOFT = -1.0
"""Slowest fall that shows as a landing."""


@rule
def walk_on(match, p, a, tables):
    """A frame's step along the ground, onto the next line or past the edge."""
    if not is_there(match, tables, p.line):
        _find_line(match, p, tables)
    slope = line_slope(match, tables, p.line)
    along = 1.0 / math.sqrt(1.0 + slope * slope)
    is_first_dash = p.action == act.DASH and p.frames == 0
    if not is_first_dash:
        p.vx = p.ground_speed * along
        p.vy = p.ground_speed * along * slope
    x = p.x + p.vx + p.kx + p.push + p.wind
    if tables.lines[match.stage, p.line].moving == RANDALL:
        x += tables.randall[match.frame % 1200, 0] - tables.randall[(match.frame - 1) % 1200, 0]
    if stadium.is_plain(match):
        p.line = line_at(match, tables, p.line, x)
    else:
        x = _step_over(match, p, tables, x)
    left, right = line_ends(match, tables, p.line)
    if left - OVERHANG <= x <= right + OVERHANG:
        p.x = x
        p.y = line_y(match, tables, p.line, min(max(x, left), right)) + GAP
    else:
        _at_edge(match, p, a, tables, x, min(max(x, left), right))


@rule
def _step_over(match, p, tables, x):
    """A step among the forms of a stage: sides stop it, lines that it goes through do as well.

    Returns: where it ends, with the line there in `p.line`.
    """
    old_x, old_y = p.x, p.y
    line = line_at(match, tables, p.line, x)
    left, right = line_ends(match, tables, line)
    p.x, p.y = x, line_y(match, tables, line, min(max(x, left), right)) + GAP
    walls.keep_off(match, p, tables, old_x, old_y)
    x = p.x
    line = p.line = line_at(match, tables, p.line, x)
    left, right = line_ends(match, tables, line)
    p.y = bottom = line_y(match, tables, line, min(max(x, left), right)) + GAP
    crossed = _line_crossed(match, p, tables, old_x, old_y, bottom)
    if crossed < 0 and not left <= x <= right:
        crossed = _line_under(match, p, tables, bottom + UP_AT_ENDS, bottom)
    if crossed >= 0 and crossed != line:
        p.line = _stand(match, p, tables, crossed)
        x = p.x
    p.x, p.y = old_x, old_y
    return x


@rule
def ride(match, p, tables):
    """Who stands still on a line that rises or sinks goes with it."""
    if match.stage != stadium.STADIUM or match.moods[0] == stadium.REST or not p.grounded:
        return
    if not is_there(match, tables, p.line):
        _find_line(match, p, tables)
    p.x = _step_over(match, p, tables, p.x)
    left, right = line_ends(match, tables, p.line)
    p.y = line_y(match, tables, p.line, min(max(p.x, left), right)) + GAP


@rule
def _find_line(match, p, tables):
    """The nearest firm ground of who stood on what is there no more."""
    found, least = 0, 1e9
    for line in range(line_count(match, tables)):
        here = tables.lines[match.stage, line]
        if here.soft or not is_there(match, tables, line):
            continue
        x = min(max(p.x, here.x0), here.x1)
        apart = abs(p.x - x) + max(0.0, abs(line_y(match, tables, line, x) - p.y) - stadium.DEPTH)
        if apart < least:
            found, least = line, apart
    p.line = _stand(match, p, tables, found)


@rule
def _at_edge(match, p, a, tables, x, edge):
    action = p.action
    outwards = (x - edge) * p.facing > 0
    if _stops_at_edge(action, outwards):
        p.x = edge
        p.y = line_y(match, tables, p.line, edge) + GAP
        if action in (act.WAIT, act.SQUAT_RISE, act.RUN_BRAKE) or act.WALK_SLOW <= action <= 17:
            enter(p, act.TEETER, tables)
            p.ground_speed = 0.0
        return
    p.x = x
    rises = tables.lines[match.stage, p.line].moving == OF_A_FORM
    p.y = line_y(match, tables, p.line, x if rises else edge) + GAP
    speed = min(max(p.ground_speed, -a.drift_max), a.drift_max)
    leave_ground(p)
    p.vx = speed
    p.vy = 0.0
    shielding = act.GUARD_ON <= action <= act.GUARD_REFLECT
    enter(p, act.SLIDE_OFF if shielding else act.FALL, tables)


@rule
def _stops_at_edge(action, outwards):
    if action in (act.DASH, act.RUN, act.JUMPSQUAT, act.LANDING, act.LANDING_SPECIAL):
        return False
    if act.NAIR_LANDING <= action <= act.DAMAGE_LAST:
        return False
    if act.GUARD_ON <= action <= act.GUARD_REFLECT:
        return outwards
    if act.WAIT <= action <= act.WALK_FAST or action in (act.RUN_BRAKE, act.SQUAT_RISE, act.TURN):
        return outwards
    return True


@rule
def feet(p, tables):
    """Height of the feet above the position."""
    if p.air_frames < FEET_LOCKED_FRAMES:
        return p.feet
    heights = tables.feet[p.character, min(p.action, act.ACTIONS - 1)]
    at = min(max((p.age + 0.5) / FEET_AGES - 0.5, 0.0), FEET_BINS - 1.001)
    first = int(at)
    return heights[first] + (heights[first + 1] - heights[first]) * (at - first)


@rule
def fly_on(match, p, a, tables):
    """A frame's step in the air, and the landing that ends it."""
    if act.LEDGE_CATCH <= p.action < act.TAUNT_R and _on_ledge(match, p, a, tables):
        return
    old_x, old_y = p.x, p.y
    old_feet = p.feet
    p.feet = feet(p, tables)
    p.x += p.vx + p.kx + p.wind
    p.y += p.vy + p.ky
    p.air_frames = min(p.air_frames + 1, 999)
    walls.keep_out(match, p, tables, old_x, old_y, old_feet)
    if _catches_ledge(match, p, a, tables):
        return
    if p.vy + p.ky > 0 or p.action < act.WAIT:
        return
    line = _line_crossed(match, p, tables, old_x, old_y + old_feet, p.y + p.feet)
    if line >= 0:
        if p.action == act.AIR_DODGE and p.air_frames == 1:
            p.x = old_x + p.vx * a.dodge_step
        line = _stand(match, p, tables, line)
        _land(p, a, tables, line)


@rule
def _catches_ledge(match, p, a, tables):
    """Whether a ledge in front is within reach of who comes down, and nobody holds it."""
    if not _may_hang(p, tables) or p.vy + p.ky > 0 or p.stick_y <= controls.DROP:
        return False
    edge, ledge_y = stadium.ledge(match, p, tables.stages[match.stage])
    side = 1.0 if p.x > 0 else -1.0
    if p.hogged == side:
        return False
    out = side * p.x - edge
    up = p.y - ledge_y
    reach = tables.catch[p.character]
    if p.facing * side > 0 or not (reach[0] <= out <= reach[1] and reach[2] <= up <= reach[3]):
        return False
    enter(p, act.LEDGE_CATCH, tables)
    place = tables.ledge[p.character, 1]
    p.x = side * (edge + place[0])
    p.y = ledge_y + place[1]
    p.vx = 0.0
    p.vy = 0.0
    p.fast_falls = 0
    p.safe_frames = LEDGE_SAFE_FRAMES
    p.jumps = int(a.jumps) - 1
    return True


@rule
def _may_hang(p, tables):
    """Whether the action under way can end at a ledge, some frames after the last one."""
    action = p.action
    if p.ledge_wait > 0:
        return False
    if action >= act.SPECIAL_FIRST:
        return tables.hangs[p.character, min(action, act.ACTIONS - 1)] != 0
    return act.JUMP_F <= action <= act.TUMBLE or action in (act.PLATFORM_DROP, act.SLIDE_OFF)


@rule
def mark_ledges(first, second):
    """Notes for each the ledge that the other holds."""
    first.hogged = _held(second)
    second.hogged = _held(first)


@rule
def _held(p):
    if p.grounded or not act.LEDGE_CATCH <= p.action <= act.LEDGE_JUMP:
        return 0
    return 1 if p.x > 0 else -1


LEDGE_SAFE_FRAMES = 37
"""Frames of invulnerability from catching a ledge on (published: 30 of hanging, 7 of catching)."""


@rule
def _on_ledge(match, p, a, tables):
    """Catching, hanging and climbing go along a path from the ledge's corner."""
    edge, ledge_y = stadium.ledge(match, p, tables.stages[match.stage])
    side = 1.0 if p.x > 0 else -1.0
    if p.action <= act.LEDGE_WAIT:
        at = min(int(p.age), 8) if p.action == act.LEDGE_CATCH else 8
        place = tables.ledge[p.character, at]
        p.x = side * (edge + place[0])
        p.y = ledge_y + place[1]
        return True
    row = tables.path[p.character, p.action]
    at = int(p.age) - 1
    if row < 0 or at < 0 or at >= tables.path_length[p.character, p.action]:
        return p.action not in (act.LEDGE_JUMP_2, act.LEDGE_JUMP_SLOW_2)
    p.x += tables.steps[row + at, 0] * p.facing
    p.y += tables.steps[row + at, 1]
    if p.y > ledge_y - 0.05 and abs(p.x) <= edge and p.action < act.LEDGE_JUMP_SLOW:
        line = _line_under(match, p, tables, p.y + 0.1, ledge_y - 0.1)
        if line >= 0:
            p.y = line_y(match, tables, line, p.x) + GAP
            touch_ground(p, line, a)
    return True


@rule
def _line_under(match, p, tables, above, below):
    """The line at this place between two heights; -1 if none."""
    found = -1
    for line in range(line_count(match, tables)):
        left, right = line_ends(match, tables, line)
        if not left <= p.x <= right or not is_there(match, tables, line):
            continue
        height = line_y(match, tables, line, p.x)
        if below > height or above < height - 0.05:
            continue
        if found < 0 or height > line_y(match, tables, found, p.x):
            found = line
    return found


@rule
def _line_crossed(match, p, tables, old_x, old_bottom, bottom):
    """The first line that the feet's way of this frame crosses from above; -1 if none.

    A line counts where the way crosses it: who passes its height beside it does not land.
    """
    found, first = -1, 2.0
    for line in range(line_count(match, tables)):
        if not is_there(match, tables, line):
            continue
        before = old_bottom - line_y_ago(match, tables, line, old_x, 1)
        after = bottom - line_y(match, tables, line, p.x)
        if after > 0 or before < -SUNK:
            continue
        part = max(before, 0.0) / max(before - after, LEAST_FALL)
        left, right = line_ends(match, tables, line)
        if part >= first or not left <= old_x + part * (p.x - old_x) <= right:
            continue
        if tables.lines[match.stage, line].soft and not p.grounded and _drops(p):
            continue
        found, first = line, part
    return found


SUNK = 0.05
"""How far below a line the feet may be and yet cross it."""
LEAST_FALL = 1e-6


@rule
def _stand(match, p, tables, line):
    """Puts a player on a line, or on the one that it joins there, or at its end; which it is."""
    line = line_at(match, tables, line, p.x)
    left, right = line_ends(match, tables, line)
    p.x = min(max(p.x, left), right)
    p.y = line_y(match, tables, line, p.x) + GAP
    return line


@rule
def _drops(p):
    """Whether a platform is fallen through."""
    action = p.action
    if action == act.PLATFORM_DROP and p.frames < 8:
        return True
    if act.DAMAGE_FIRST <= action <= act.DAMAGE_LAST or action == act.AIR_DODGE:
        return False
    return p.stick_y <= controls.DROP


@rule
def _land(p, a, tables, line):
    action, speed = p.action, p.vy
    frames = p.frames
    touch_ground(p, line, a)
    if act.NAIR <= action <= act.DAIR:
        _land_aerial(p, a, tables, action, frames)
    elif action == act.AIR_DODGE or act.SPECIAL_FALL <= action <= act.SPECIAL_FALL_B:
        _land_helpless(p, p.helpless if action != act.AIR_DODGE else 0, tables)
    elif act.DAMAGE_FLY_HIGH <= action <= act.DAMAGE_LAST or action == act.TUMBLE:
        _fall_down(p, tables)
    elif action == act.SHIELD_BREAK_FLY or action == act.SHIELD_BREAK_FALL:
        enter(p, act.SHIELD_BREAK_DOWN, tables)
    elif act.DAMAGE_FIRST <= action < act.DAMAGE_FLY_HIGH and p.hitstun > 0:
        enter(p, act.LANDING, tables)
        p.kx = 0.0 if p.ky > 0 else p.kx
    elif action >= act.SPECIAL_FIRST:
        _land_special(p, tables, action)
    elif speed > SOFT and action < act.SPECIAL_FIRST:
        enter(p, act.WAIT, tables)
    else:
        enter(p, act.LANDING, tables)


@rule
def _land_special(p, tables, action):
    """As recorded games say: the same move on the ground, or a landing."""
    follows = tables.lands_as[p.character, min(action, act.ACTIONS - 1)]
    age, frames = p.age, p.frames
    enter(p, follows if follows > 0 else act.LANDING, tables)
    if follows >= act.SPECIAL_FIRST:
        p.age = age
        p.frames = frames
    elif follows == act.LANDING_SPECIAL:
        _land_helpless(p, action, tables)


@rule
def _land_helpless(p, after, tables):
    """A landing after an air dodge (`after` 0) or as long as the special move's lag is."""
    lag = tables.fall_lag[p.character, min(after, act.ACTIONS - 1)] if after > 0 else 0
    enter(p, act.LANDING_SPECIAL, tables)
    p.rate = LANDING_AGES / (lag if lag > 0 else SPECIAL_LAG)


@rule
def _land_aerial(p, a, tables, action, frames):
    free = tables.lands_free[p.character, action - act.NAIR]
    if frames < free[0] or frames >= free[1]:
        enter(p, act.LANDING, tables)
        return
    lag = _aerial_lag(a, action)
    if p.cancel_frames < CANCEL_FRAMES:
        lag = lag // 2
    enter(p, action + (act.NAIR_LANDING - act.NAIR), tables)
    p.rate = LANDING_AGES / max(lag, 1)


@rule
def _aerial_lag(a, action):
    if action == act.NAIR:
        return int(a.nair_lag)
    if action == act.FAIR:
        return int(a.fair_lag)
    if action == act.BAIR:
        return int(a.bair_lag)
    if action == act.UAIR:
        return int(a.uair_lag)
    return int(a.dair_lag)


@rule
def _fall_down(p, tables):
    """Tech or lie; the stick says where to."""
    p.hitstun = 0.0
    if p.tech_frames >= TECH_FRAMES:
        enter(p, act.DOWN_BOUND_UP, tables)
        return
    p.kx = 0.0
    p.ky = 0.0
    if abs(p.stick_x) < controls.SPECIAL_X:
        enter(p, act.TECH, tables)
    else:
        enter(p, act.TECH_F if p.stick_x * p.facing > 0 else act.TECH_B, tables)
    p.ground_speed = 0.0

"""Everything that rules look up, as arrays in one record that is handed down to every rule.

Per-frame movement, lengths and interruptible frames come from the `melee` package's
`framedata.csv`, which is read at run time; constants of movement from `attributes`, ids of special
moves and feet in the air from our own tables (`data/`). Compiled code holds no copy of them.
"""

from __future__ import annotations

import csv
import functools

import numpy as np

from exphil_tf.melee import specials
from exphil_tf.melee.enums import ACTION_COUNT, zero_index_table
from exphil_tf.melee.specials import CHARACTERS
from exphil_tf.melee.stages import RANDALL_PERIOD_FRAMES
from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import (
    ATTRIBUTES,
    attribute_table,
    data_file,
    melee_file,
    read_rows,
)
from exphil_tf.sim.hit_tables import HIT_FIELDS, hit_tables
from exphil_tf.sim.stage_lines import (
    LINE,
    MAX_LINES,
    STAGE,
    STAGES,
    line_table,
    randall_table,
    stage_table,
)

NEUTRAL, SIDE, UP, DOWN = range(4)


MAX_STEPS = 40_000
"""Frames of all actions that move by themselves, with room; a larger table would be refused."""
LEDGE_FRAMES = 9
"""Frames of catching a ledge, and hanging from it."""
CURVE_FRAMES = 60
_BY_ACTION = (CHARACTERS, act.ACTIONS)
_BY_ANY_ACTION = (CHARACTERS, ACTION_COUNT)
CHARGE = np.dtype([(name, "i4") for name in specials.Charge._fields])
TABLES = np.dtype(
    [
        ("attributes", ATTRIBUTES, (CHARACTERS,)),
        ("lines", LINE, (len(STAGES), MAX_LINES)),
        ("stages", STAGE, (len(STAGES),)),
        ("randall", "f8", (RANDALL_PERIOD_FRAMES, 2)),  # centre x and height by frame
        ("length", "i2", _BY_ACTION),  # frames; 0 where unknown
        ("free_from", "i2", _BY_ACTION),  # first frame that may be interrupted; 0 if none
        ("begins_at", "i1", _BY_ACTION),  # age on the first frame
        ("path", "i4", _BY_ACTION),  # first row in `steps`; -1 if it does not move by itself
        ("steps", "f4", (MAX_STEPS, 2)),  # movement of a frame, x forwards
        ("turns", "i2", _BY_ACTION),  # frame that faces the other way; 0 if none
        ("special", "i2", (CHARACTERS, 2, 4)),  # first action, by airborne and direction; 0 unknown
        ("feet", "f4", _BY_ACTION),  # height of the feet above the position, in the air
        ("lands_free", "i2", (CHARACTERS, 5, 2)),  # aerials: lag-free before, and from
        ("air_jump", "f4", (CHARACTERS, CURVE_FRAMES)),  # vertical speed by frame; 0: gravity's
        ("catch", "f4", (CHARACTERS, 4)),  # of ledges: nearest, farthest, lowest, highest
        ("ledge", "f4", (CHARACTERS, LEDGE_FRAMES, 2)),  # places on one, from its corner outwards
        ("lasts", "i2", _BY_ACTION),  # specials: frames, 0 where unknown
        ("next", "i2", _BY_ACTION),  # and what follows
        ("lands_as", "i2", _BY_ACTION),  # and what follows on landing; 0 where unknown
        ("x_kind", "i1", _BY_ACTION),  # and how they fly: see exphil_tf.sim.motion_kinds
        ("x_value", "f4", _BY_ACTION),
        ("y_kind", "i1", _BY_ACTION),
        ("y_value", "f4", _BY_ACTION),
        ("flies_from", "i2", _BY_ACTION),  # and their frame before which speeds hold
        # What special moves keep (`melee.specials`), and how frames of actions are counted.
        ("codes", "u2", _BY_ANY_ACTION),
        ("counts_from_zero", "i1", _BY_ANY_ACTION),
        ("charges", CHARGE, (CHARACTERS,)),
        ("keeps_lift", "i1", (CHARACTERS,)),  # landing does not give it back
        ("stage_id", "i4", (len(STAGES),)),  # in replays
        *HIT_FIELDS,
    ],
    align=True,
)
"""One record, so that compiled code passes a pointer: a tuple of arrays made it nine times slower
and twice as long to compile."""


@functools.cache
def tables() -> np.ndarray:
    """All tables, `TABLES` `[1]`, read once."""
    found = np.zeros(1, TABLES)
    length, free_from, path, steps, turns = _frame_data()
    found["attributes"], found["lines"] = attribute_table(), line_table()
    found["stages"], found["randall"] = stage_table(), randall_table()
    found["length"], found["free_from"] = _with_durations(length), free_from
    found["begins_at"], found["path"], found["turns"] = _first_ages(), path, turns
    found["steps"][0, : len(steps)] = steps
    found["special"], found["feet"] = _specials(), _feet()
    found["lands_free"] = _free_landings()
    found["ledge"], found["catch"] = _ledges(), _catches()
    for row in read_rows(data_file("curves.csv")):
        found["air_jump"][0, int(row["character"]), int(row["frame"])] = float(row["speed"])
    for row in read_rows(data_file("courses.csv")):
        key = 0, int(row["character"]), int(row["action"])
        found["begins_at"][key] = int(row["first"])
        found["lasts"][key], found["next"][key] = int(row["frames"]), int(row["next"])
        found["lands_as"][key] = int(row["landing"])
        found["x_kind"][key], found["x_value"][key] = int(row["x_kind"]), float(row["x_value"])
        found["flies_from"][key] = int(row["from"])
        found["y_kind"][key], found["y_value"][key] = int(row["y_kind"]), float(row["y_value"])
    found["codes"] = specials.action_codes().reshape(_BY_ANY_ACTION)
    found["counts_from_zero"] = zero_index_table()[:CHARACTERS]
    found["charges"] = [tuple(row) for row in specials.charge_table()]
    found["keeps_lift"], found["stage_id"] = specials.keeps_until_cyclone(), STAGES
    for name in hit_tables().dtype.names:
        found[name] = hit_tables()[name]
    found.setflags(write=False)
    return found


_LEAST_STEP = 0.3
"""Largest step of an attack below which it does not move by itself but slides."""


def _frame_data() -> tuple[np.ndarray, ...]:
    shape = (CHARACTERS, act.ACTIONS)
    length, free_from, turns = (np.zeros(shape, np.int16) for _ in range(3))
    path = np.full(shape, -1, np.int32)
    moves: dict[tuple[int, int], list[tuple[float, float]]] = {}
    with melee_file("framedata.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = character, action = int(row["character"]), int(row["action"])
            frame = int(row["frame"])
            if action >= act.ACTIONS or frame < 1:
                continue
            length[key] = max(length[key], frame)
            if row["iasa"] == "True" and not free_from[key]:
                free_from[key] = frame
            if row["facing_changed"] == "True" and not turns[key]:
                turns[key] = frame
            steps = moves.setdefault((character, action), [])
            steps.extend([(0.0, 0.0)] * (frame - len(steps)))
            steps[frame - 1] = float(row["locomotion_x"]), float(row["locomotion_y"])
    flat: list[tuple[float, float]] = []
    for key, steps in moves.items():
        moves_itself = any(x or y for x, y in steps)
        if act.JAB_1 <= key[1] <= act.DSMASH:
            moves_itself = max(abs(x) for x, _ in steps) > _LEAST_STEP
        if moves_itself and not act.GRAB <= key[1] <= act.DASH_GRAB:
            path[key] = len(flat)
            flat += [*steps, *[(0.0, 0.0)] * (int(length[key]) - len(steps))]
    return length, free_from, path, np.array(flat, np.float32), turns


_DURATIONS = {
    act.REBIRTH: 60, act.DEAD_DOWN: 60, act.DEAD_LEFT: 60, act.DEAD_RIGHT: 60, act.DEAD_UP: 60,
    act.DEAD_STAR: 160, act.REBIRTH_WAIT: 300, act.PLATFORM_DROP: 29, act.TEETER: 12,
    act.LEDGE_CATCH: 7, act.GUARD_ON: 8, act.GUARD_OFF: 15, act.DIZZY: 400,
    act.SHIELD_BREAK_DOWN: 26, act.SHIELD_BREAK_STAND: 30, act.DOWN_HURT_UP: 16,
    act.DOWN_HURT_DOWN: 16, act.GRAB_BREAK: 30, act.REBOUND_STOP: 1, act.REBOUND: 12,
    act.HELD_FREE: 30, act.HELD_FREE_JUMP: 24,
    act.DOWN_BOUND_UP: 26, act.DOWN_BOUND_DOWN: 26, 87: 30, 88: 30, 89: 30, 90: 61, 91: 15,
}  # fmt: skip
"""Frames of actions that are nobody's own, from recorded games."""


def _with_durations(length: np.ndarray) -> np.ndarray:
    for action, frames in _DURATIONS.items():
        length[:, action] = np.where(length[:, action] > 0, length[:, action], frames)
    return length


def _first_ages() -> np.ndarray:
    """1 for attacks and what the stick begins, -1 for shields, 0 for the rest; as recorded."""
    table = np.zeros(act.ACTIONS, np.int8)
    table[act.SPECIAL_FIRST :] = 1
    for first, last in ((15, 18), (20, 20), (39, 39), (44, 69), (219, 222), (233, 236), (252, 252),
                        (254, 265), (186, 190), (194, 198), (87, 91), (75, 86)):  # fmt: skip
        table[first : last + 1] = 1
    table[act.GUARD_ON] = table[act.GUARD] = table[act.GUARD_REFLECT] = -1
    return table


def _specials() -> np.ndarray:
    table = np.zeros((CHARACTERS, 2, 4), np.int16)
    for row in read_rows(data_file("specials.csv")):
        key = int(row["character"]), int(row["airborne"]), int(row["direction"])
        table[key] = int(row["action"])
    return table


def _feet() -> np.ndarray:
    """Of actions that no game shows, the middle of the character's others."""
    table = np.zeros((CHARACTERS, act.ACTIONS), np.float32)
    rows = read_rows(data_file("feet.csv"))
    for character in {int(row["character"]) for row in rows}:
        own = [row for row in rows if int(row["character"]) == character]
        table[character] = np.median([float(row["height"]) for row in own])
        for row in own:
            table[character, int(row["action"])] = float(row["height"])
    table[:, act.SPECIAL_FALL : act.SPECIAL_FALL_B + 1] *= table[:, 35:38] > 0
    return table


def _ledges() -> np.ndarray:
    """For a character that no game shows, the middle of the others."""
    table = np.full((CHARACTERS, LEDGE_FRAMES, 2), np.nan, np.float32)
    for row in read_rows(data_file("ledge.csv")):
        place = float(row["out"]), float(row["up"])
        table[int(row["character"]), int(row["frame"])] = place
    known = table[np.isfinite(table).all((1, 2))]
    middle = np.median(known, 0) if len(known) else np.zeros_like(table[0])
    return np.where(np.isnan(table), middle, table)


def _catches() -> np.ndarray:
    """For a character that no game shows, the middle of the others."""
    rows = read_rows(data_file("catch.csv"))
    sides = ("near", "far", "low", "high")
    places = np.array([[float(row[side]) for side in sides] for row in rows])
    table = np.zeros((CHARACTERS, len(sides)), np.float32)
    if len(rows):
        table[:] = np.median(places, 0)
        table[[int(row["character"]) for row in rows]] = places
    return table


def _free_landings() -> np.ndarray:
    table = np.zeros((CHARACTERS, 5, 2), np.int16)
    table[:, :, 1] = 999
    for row in read_rows(data_file("aerials.csv")):
        key = int(row["character"]), int(row["action"]) - act.NAIR
        table[key] = int(row["before"]), int(row["from"])
    return table

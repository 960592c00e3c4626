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
    FITTED,
    attribute_table,
    data_file,
    melee_file,
    read_rows,
)
from exphil_tf.sim.diamond_tables import DIAMOND_FIELDS, diamond_tables
from exphil_tf.sim.hit_tables import HIT_FIELDS, hit_tables
from exphil_tf.sim.shot_tables import SHOT_FIELDS, shot_tables
from exphil_tf.sim.stage_lines import (
    FORM_SIDE,
    LINE,
    MAX_LINES,
    STAGE,
    STAGES,
    line_table,
    randall_table,
    side_table,
    stage_table,
)

NEUTRAL, SIDE, UP, DOWN = range(4)


MAX_STEPS = 60_000
"""Frames of all actions that move by themselves, with room; a larger table would be refused."""
LEDGE_FRAMES = 9
"""Frames of catching a ledge, and hanging from it."""
CURVE_FRAMES = 60
FEET_AGES, FEET_BINS = 4, 12
"""Ages that share a height of the feet in the air, and how many such groups there are."""
_BY_ACTION = (CHARACTERS, act.ACTIONS)
_BY_ANY_ACTION = (CHARACTERS, ACTION_COUNT)
CHARGE = np.dtype([(name, "i4") for name in specials.Charge._fields], align=True)
TABLES = np.dtype(
    [
        ("attributes", ATTRIBUTES, (CHARACTERS,)),
        ("lines", LINE, (len(STAGES), MAX_LINES)),
        ("stages", STAGE, (len(STAGES),)),
        ("form_sides", FORM_SIDE, side_table().shape),
        ("randall", "f8", (RANDALL_PERIOD_FRAMES, 2)),  # centre x and height by frame
        ("length", "i2", _BY_ACTION),  # frames; 0 where unknown
        ("free_from", "i2", _BY_ACTION),  # first frame that may be interrupted; 0 if none
        ("begins_at", "i1", _BY_ACTION),  # age on the first frame
        ("charge_age", "i1", _BY_ACTION),  # smashes: where one stands still with A held; 0 unknown
        ("begins_rate", "i1", _BY_ACTION),  # 0: its animation stands still
        ("path", "i4", _BY_ACTION),  # first row in `steps`; -1 if it does not move by itself
        ("path_length", "i2", _BY_ACTION),
        ("measured", "i1", _BY_ACTION),  # whether recorded games filled the path
        ("air_path", "i4", _BY_ACTION),  # first row in `steps` of its speeds in the air; or -1
        ("air_length", "i2", _BY_ACTION),
        ("steps", "f4", (MAX_STEPS, 2)),  # movement of a frame, x forwards
        ("turns", "i2", _BY_ACTION),  # frame that faces the other way; 0 if none
        ("special", "i2", (CHARACTERS, 2, 4)),  # first action, by airborne and direction; 0 unknown
        ("feet", "f4", (*_BY_ACTION, FEET_BINS)),  # height of the feet above the position, by age
        ("lands_free", "i2", (CHARACTERS, 5, 2)),  # aerials: lag-free before, and from
        ("air_jump", "f4", (CHARACTERS, 2, CURVE_FRAMES)),  # vertical speed by frame, forwards and
        # backwards; 0: gravity's
        ("hangs", "i1", _BY_ACTION),  # special moves that may end at a ledge
        ("catch", "f4", (CHARACTERS, 4)),  # of ledges: nearest, farthest, lowest, highest
        ("ledge", "f4", (CHARACTERS, LEDGE_FRAMES, 2)),  # places on one, from its corner outwards
        ("lasts", "i2", _BY_ACTION),  # specials: frames, 0 where unknown
        ("next", "i2", _BY_ACTION),  # and what follows
        ("lands_as", "i2", _BY_ACTION),  # and what follows on landing; 0 where unknown
        ("x_kind", "i1", _BY_ACTION),  # and how they fly: see exphil_tf.sim.motion_kinds
        ("x_value", "f4", _BY_ACTION),
        ("x_since", "i2", _BY_ACTION),  # and from which age on in another way
        ("x_then", "i1", _BY_ACTION),
        ("x_more", "f4", _BY_ACTION),
        ("y_kind", "i1", _BY_ACTION),
        ("y_value", "f4", _BY_ACTION),
        ("y_since", "i2", _BY_ACTION),
        ("y_then", "i1", _BY_ACTION),
        ("y_more", "f4", _BY_ACTION),
        ("keeps_x", "f4", _BY_ACTION),  # share of the speed before that a special move keeps
        ("starts_y", "f4", _BY_ACTION),  # its first vertical speed; NaN: what its flight makes
        ("fall_lag", "i2", _BY_ACTION),  # frames of landing after it, and after its special fall
        ("fall_drift", "f4", _BY_ACTION),  # share of the drift that its special fall has
        ("fall_bottom", "f4", _BY_ACTION),  # and its speed downwards; 0: the character's own
        # What special moves keep (`melee.specials`), and how frames of actions are counted.
        ("codes", "u2", _BY_ANY_ACTION),
        ("counts_from_zero", "i1", _BY_ANY_ACTION),
        ("charges", CHARGE, (CHARACTERS,)),
        ("keeps_lift", "i1", (CHARACTERS,)),  # landing does not give it back
        ("stage_id", "i4", (len(STAGES),)),  # in replays
        *DIAMOND_FIELDS,
        *HIT_FIELDS,
        *SHOT_FIELDS,
    ],
    align=True,
)
"""One record, so that compiled code passes a pointer: a tuple of arrays made it nine times slower
and twice as long to compile."""


@functools.cache
def tables() -> np.ndarray:
    """All tables, `TABLES` `[1]`, read once."""
    found = np.zeros(1, TABLES)
    length, free_from, path, steps, turns = frame_data()
    found["attributes"], found["lines"] = attribute_table(), line_table()
    found["stages"], found["randall"] = stage_table(), randall_table()
    found["form_sides"] = side_table()
    found["length"], found["free_from"] = _with_durations(length.copy()), free_from
    found["begins_at"], found["path"], found["turns"] = _first_ages(), path, turns
    found["steps"][0, : len(steps)] = steps
    _lengths_of_jumps(found["attributes"][0], length)
    found["path_length"], found["air_path"] = length, -1
    found["special"], found["feet"] = _specials(), _feet()
    found["lands_free"] = _free_landings()
    found["ledge"], found["catch"] = _ledges(), _catches()
    found["charge_age"] = _charges()
    for row in read_rows(data_file("hangs.csv")):
        found["hangs"][0, int(row["character"]), int(row["action"])] = 1
    for row in read_rows(data_file("curves.csv")):
        key = 0, int(row["character"]), int(row["action"]) - act.AIR_JUMP_F, int(row["frame"])
        found["air_jump"][key] = float(row["speed"])
    found["keeps_x"], found["starts_y"], found["fall_drift"] = 1, np.nan, 1
    found["begins_rate"] = 1
    found["begins_rate"][..., [act.GUARD_ON, act.GUARD, act.GUARD_REFLECT]] = 0
    for row in read_rows(data_file("courses.csv")):
        key = 0, int(row["character"]), int(row["action"])
        found["begins_at"][key] = int(row["first"])
        found["lasts"][key], found["next"][key] = int(row["frames"]), int(row["next"])
        found["lands_as"][key] = int(row["landing"])
        found["begins_rate"][key] = int(row["rate"])
        for name in (f"{axis}_{part}" for axis in "xy" for part in _FLIGHT):
            found[name][key] = float(row[name])
        found["keeps_x"][key], found["starts_y"][key] = (
            float(row["keeps_x"]),
            float(row["starts_y"]),
        )
        found["fall_lag"][key], found["fall_drift"][key] = int(row["lag"]), float(row["drift"])
        found["fall_bottom"][key] = float(row["bottom"])
    _put_speeds(found[0], len(steps))
    found["codes"] = specials.action_codes().reshape(_BY_ANY_ACTION)
    found["counts_from_zero"] = zero_index_table()[:CHARACTERS]
    found["charges"] = [tuple(row) for row in specials.charge_table()]
    found["keeps_lift"], found["stage_id"] = specials.keeps_until_cyclone(), STAGES
    for part in (diamond_tables(), hit_tables(), shot_tables()):
        for name in part.dtype.names or ():
            found[name] = part[name]
    found.setflags(write=False)
    return found


def _lengths_of_jumps(attributes: np.ndarray, length: np.ndarray) -> None:
    """libmelee's, of those whose jumps no game shows to their end."""
    shown = {(int(r["character"]), r["attribute"]) for r in read_rows(FITTED)}
    for name, action in (("jump_frames", act.JUMP_F), ("air_jump_frames", act.AIR_JUMP_F)):
        for who in np.flatnonzero(length[:, action]).tolist():
            if (who, name) not in shown:
                attributes[name][who] = length[who, action]


_FLIGHT = ("kind", "value", "since", "then", "more")
TABLE = 6
"""Kind of flight whose speeds are recorded, frame by frame; see `exphil_tf.sim.motion_kinds`."""


def _put_speeds(found: np.ndarray, used: int) -> None:
    """Movement that recorded games show frame by frame, where it is truer than libmelee's."""
    for row in read_rows(data_file("speeds.csv")):
        key = int(row["character"]), int(row["action"])
        ahead, up = (np.array(row[side].split(), float) for side in ("ahead", "up"))
        count = max(len(ahead), len(up))
        found["steps"][used : used + len(ahead), 0] = ahead
        found["steps"][used : used + len(up), 1] = up
        if row["where"] == "air":
            found["air_path"][key], found["air_length"][key] = used, count
            for axis, values in (("x", ahead), ("y", up)):
                if len(values):
                    found[f"{axis}_kind"][key], found[f"{axis}_since"][key] = TABLE, 0
                    found[f"{axis}_then"][key] = TABLE
        else:
            found["path"][key], found["measured"][key] = used if count else -1, 1
            found["path_length"][key] = count
        used += count


_LEAST_STEP = 0.3
"""Largest step of an attack below which it does not move by itself but slides."""
_ANGLED = {act.FTILT_HIGH: act.FTILT, 52: act.FTILT, 54: act.FTILT, act.FTILT_LOW: act.FTILT,
           act.FSMASH_HIGH: act.FSMASH, 59: act.FSMASH, 61: act.FSMASH,
           act.FSMASH_LOW: act.FSMASH}  # fmt: skip
"""Attacks that are angled, and the one that moves as they do."""


@functools.cache
def frame_data() -> tuple[np.ndarray, ...]:
    """Length, interruptible frame, path, steps and turn of every action that libmelee knows."""
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
    for angled, level in _ANGLED.items():
        same = (path[:, angled] < 0) & (length[:, angled] == 0)
        for table in (length, free_from, path, turns):
            table[:, angled] = np.where(same, table[:, level], table[:, angled])
    return length, free_from, path, np.array(flat, np.float32), turns


_DURATIONS = {
    act.REBIRTH: 60, act.DEAD_DOWN: 60, act.DEAD_LEFT: 60, act.DEAD_RIGHT: 60, act.DEAD_UP: 60,
    act.DEAD_STAR: 160, act.REBIRTH_WAIT: 300, act.PLATFORM_DROP: 29, act.TEETER: 12,
    act.LEDGE_CATCH: 7, act.GUARD_ON: 8, act.GUARD_OFF: 15, act.DIZZY: 400,
    act.SHIELD_BREAK_DOWN: 26, act.SHIELD_BREAK_STAND: 30, act.DOWN_HURT_UP: 16,
    act.DOWN_HURT_DOWN: 16, act.GRAB_BREAK: 30, act.REBOUND_STOP: 1, act.REBOUND: 12,
    act.HELD_FREE: 30, act.HELD_FREE_JUMP: 24, act.AIR_DODGE: 49,
    act.DOWN_BOUND_UP: 26, act.DOWN_BOUND_DOWN: 26, 87: 30, 88: 30, 89: 30, 90: 61, 91: 15,
}  # fmt: skip
"""Frames of actions that are nobody's own, from recorded games."""
_MEWTWO = 16


def _with_durations(length: np.ndarray) -> np.ndarray:
    for action, frames in _DURATIONS.items():
        length[:, action] = np.where(length[:, action] > 0, length[:, action], frames)
    length[_MEWTWO, act.AIR_DODGE] = 39
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
    for one, other in _TWINS:
        table[one] = np.where(table[one] > 0, table[one], table[other])
        table[other] = np.where(table[other] > 0, table[other], table[one])
    return table


_TWINS = ((0, 21), (1, 22), (2, 25), (6, 20), (12, 23), (18, 26))
"""Mario and Dr. Mario, Fox and Falco, Captain Falcon and Ganondorf, Link and Young Link, Pikachu
and Pichu, Marth and Roy: their special moves have the same ids."""


def _feet() -> np.ndarray:
    """Of actions that no game shows, the middle of the character's others."""
    table = np.zeros((CHARACTERS, act.ACTIONS, FEET_BINS), np.float32)
    rows = read_rows(data_file("feet.csv"))
    whole = [row for row in rows if int(row["ages"]) < 0]
    for character in {int(row["character"]) for row in whole}:
        own = [row for row in whole if int(row["character"]) == character]
        table[character] = np.median([float(row["height"]) for row in own])
    for row in (*whole, *[row for row in rows if int(row["ages"]) >= 0]):
        ages = slice(None) if int(row["ages"]) < 0 else int(row["ages"])
        table[int(row["character"]), int(row["action"]), ages] = float(row["height"])
    return table


def _charges() -> np.ndarray:
    table = np.zeros(_BY_ACTION, np.int8)
    for row in read_rows(data_file("charges.csv")):
        table[int(row["character"]), int(row["action"])] = int(row["age"])
    for angled in range(act.FSMASH_HIGH, act.FSMASH_LOW + 1):
        table[:, angled] = table[:, act.FSMASH]
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

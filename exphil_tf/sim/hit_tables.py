"""What attacks and bodies are: hitboxes by frame, what each does, bodies that they meet.

Places, sizes and frames of hitboxes come from the `melee` package's `framedata.csv`, read at run
time; damage, angle and knockback from `data/hits.csv`, and bodies from `data/bodies.csv`, which
`python -m exphil_tf.sim fit` estimates from recorded games.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator

import numpy as np

from exphil_tf.melee.enums import zero_index_table
from exphil_tf.melee.specials import CHARACTERS
from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import data_file, melee_file, read_rows

SLOTS = 4
MAX_ROWS = 24_000
"""Frames of all attacks from the first to the last that hits, with room."""
MAX_KINDS = 2_000
POSES = 12
(
    GROUND, CROUCH, AIR, DOWN, DASHES, LANDS, AERIAL, ATTACK, FLIES, FLINCHES, SPECIAL, SPECIAL_AIR,
) = range(POSES)  # fmt: skip
HITBOX = np.dtype(
    [
        ("x", "f4", (SLOTS,)), ("y", "f4", (SLOTS,)), ("size", "f4", (SLOTS,)),
        ("kind", "i2", (SLOTS,)),  # row of `HIT`; -1 if the slot is empty
        ("window", "i1"),  # 1, 2, … : each may hit once; 0 if nothing is out
    ],
    align=True,
)  # fmt: skip
"""One frame of an attack; x forwards and y up from the attacker's position."""
HIT = np.dtype(
    [
        ("damage", "f4"), ("angle", "f4"),  # degrees; 361: by the victim's knockback
        ("growth", "f4"), ("base", "f4"),
        ("set", "f4"),  # damage that a knockback is worked out of, whatever the percent; 0: none
        ("electric", "i1"), ("move", "u1"),
    ],
    align=True,
)  # fmt: skip
"""What a hitbox does."""
BODY = np.dtype([("x", "f4"), ("low", "f4"), ("high", "f4"), ("radius", "f4")], align=True)
"""An upright capsule, so far in front of the position."""
BUBBLE = np.dtype([("x", "f4"), ("y", "f4"), ("radius", "f4")], align=True)
"""A full shield: its centre in front of the position and above it."""
THROW = np.dtype(
    [
        ("damage", "f4"), ("angle", "f4"), ("growth", "f4"), ("base", "f4"), ("set", "f4"),
        ("age", "f4"), ("length", "f4"), ("blow_age", "f4"), ("blow_damage", "f4"),
        ("by_weight", "i1"), ("move", "u1"),
        ("after", "i2"),  # the victim's action after it
    ],
    align=True,
)  # fmt: skip
"""A throw: the release, and a blow before it, by the animation's age. The fifth is the pummel."""
HOLDS, HELD_AGES = 10, 64
"""Actions of holding, from pulling to the last throw; ages of each."""
_BY_ACTION = (CHARACTERS, act.ACTIONS)
HIT_FIELDS = [
    ("box_row", "i4", _BY_ACTION),  # of `boxes`, of the first frame that hits; -1 if none does
    ("box_first", "i2", _BY_ACTION), ("box_last", "i2", _BY_ACTION),  # frames that hit
    ("box_shift", "i1", _BY_ACTION),  # of an action's age to framedata's frame
    ("boxes", HITBOX, (MAX_ROWS,)),
    ("kinds", HIT, (MAX_KINDS,)),
    ("bodies", BODY, (CHARACTERS, POSES)),
    ("pose", "i1", (2, act.ACTIONS)),  # by whether it is on the ground
    ("bubbles", BUBBLE, (CHARACTERS,)),
    ("weight", "f4", (CHARACTERS,)),
    ("safe_from", "i2", _BY_ACTION), ("safe_to", "i2", _BY_ACTION),  # frames; 0 if none
    ("own_only", "i1", _BY_ACTION),  # of no player that counts for estimates: no judge of the rules
    ("throws", THROW, (CHARACTERS, 5)),
    ("held", "f4", (CHARACTERS, HOLDS, HELD_AGES, 2)),  # place by the holder's action and age
]  # fmt: skip
HIT_TABLES = np.dtype(HIT_FIELDS, align=True)
"""Part of the record of all tables."""


@functools.cache
def hit_tables() -> np.ndarray:
    """`HIT_TABLES` `[]`, read once."""
    found = np.zeros((), HIT_TABLES)
    _boxes(found)
    found["box_shift"] = zero_index_table()[:CHARACTERS, : act.ACTIONS]
    # Who is grabbed is held from the frame after the touch on.
    found["box_shift"][:, [act.GRAB, act.DASH_GRAB]] = 0
    _kinds(found)
    found["bodies"], found["pose"], found["weight"] = _bodies(), _poses(), 100
    found["throws"], found["held"], found["bubbles"] = _throws(), _held(), _bubbles()
    found["own_only"] = 1
    for name in ("hits.csv", "throws.csv"):
        for row in read_rows(data_file(name)):
            found["own_only"][int(row["character"]), int(row["action"])] = int(row["own"])
    for row in read_rows(data_file("weights.csv")):
        found["weight"][int(row["character"])] = float(row["weight"])
    for row in read_rows(data_file("safe.csv")):
        key = int(row["character"]), int(row["action"])
        found["safe_from"][key], found["safe_to"][key] = int(row["first"]), int(row["last"])
    found.setflags(write=False)
    return found


_Frame = tuple[int, list[tuple[int, list[float]]]]


def _attack_frames() -> Iterator[tuple[tuple[int, int], list[_Frame]]]:
    """Each action that hits: its frames that do, each with the slots' size, x and y."""
    found: dict[tuple[int, int], list[_Frame]] = {}
    with melee_file("framedata.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            slots = [
                (slot, [float(row[f"hitbox_{slot + 1}_{part}"]) for part in ("size", "x", "y")])
                for slot in range(SLOTS)
                if row[f"hitbox_{slot + 1}_status"] == "True"
                and float(row[f"hitbox_{slot + 1}_size"]) > 0
            ]
            key = int(row["character"]), int(row["action"])
            if slots and key[1] < act.ACTIONS:
                found.setdefault(key, []).append((int(row["frame"]), slots))
    yield from sorted(found.items())


def _boxes(found: np.ndarray) -> None:
    found["box_row"], found["boxes"]["kind"] = -1, -1
    at = 0
    for key, unsorted in _attack_frames():
        frames = sorted(unsorted)
        first, last = frames[0][0], frames[-1][0]
        found["box_row"][key], found["box_first"][key], found["box_last"][key] = at, first, last
        window, before = 0, -9
        for frame, slots in frames:
            window += frame > before + 1
            before = frame
            box = found["boxes"][at + frame - first]
            box["window"] = window
            for slot, (size, x, y) in slots:
                box["size"][slot], box["x"][slot], box["y"][slot] = size, x, y
                box["kind"][slot] = 0
        at += last - first + 1


def _kinds(found: np.ndarray) -> None:
    """Kinds of hits into the slots: row 0 is nobody's own, the others are in the file's order."""
    kinds = found["kinds"]
    kinds[0] = (6.0, 361.0, 60.0, 20.0, 0.0, 0, 1)
    keys: dict[tuple[str, ...], int] = {}
    columns = ("damage", "angle", "growth", "base", "set", "electric", "move")
    rows = read_rows(data_file("hits.csv"))
    _middle_kinds(found, rows)
    for row in rows:
        values = tuple(row[name] for name in columns)
        kind = keys.setdefault(values, len(keys) + 1 + act.GRAB)
        kinds[kind] = tuple(float(one) for one in values)
        character, action, slot = (int(row[name]) for name in ("character", "action", "slot"))
        start = int(found["box_row"][character, action])
        base = int(found["box_first"][character, action])
        if start < 0:
            continue
        for frame in range(int(row["first"]), int(row["last"]) + 1):
            box = found["boxes"][start + frame - base]
            if box["kind"][slot] >= 0:
                box["kind"][slot] = kind


def _middle_kinds(found: np.ndarray, rows: list[dict[str, str]]) -> None:
    """Attacks that no game shows do what is about the middle of the other characters' same one."""
    for action in range(act.JAB_1, act.DAIR + 1):
        same = [row for row in rows if int(row["action"]) == action]
        if not same:
            continue
        kind = found["kinds"][action]
        for name in ("damage", "growth", "base"):
            kind[name] = np.median([float(row[name]) for row in same])
        angles, counts = np.unique([float(row["angle"]) for row in same], return_counts=True)
        kind["angle"], kind["move"] = angles[counts.argmax()], int(same[0]["move"])
        for character in range(CHARACTERS):
            first = int(found["box_row"][character, action])
            if first >= 0:
                last = first + int(found["box_last"][character, action]) + 1
                last -= int(found["box_first"][character, action])
                filled = found["boxes"]["kind"][first:last]
                filled[filled == 0] = action


def _bodies() -> np.ndarray:
    """Of a pose that no game shows: the middle of the other characters', by their sizes."""
    sizes = np.full(CHARACTERS, 11.0)
    for row in read_rows(melee_file("characterdata.csv")):
        sizes[int(row["CharacterIndex"])] = float(row["size"])
    fitted = np.full((CHARACTERS, POSES, 4), np.nan)
    for row in read_rows(data_file("bodies.csv")):
        key = int(row["character"]), int(row["pose"])
        fitted[key] = [float(row[name]) for name in BODY.names or ()]
    table = np.zeros((CHARACTERS, POSES), BODY)
    for pose in range(POSES):
        known = ~np.isnan(fitted[:, pose, 0])
        middle = _BODY_DEFAULTS[min(pose, DOWN)]
        if known.sum() >= 3:
            middle = tuple(np.median(fitted[known, pose] / sizes[known, None] * 11, 0))
        for who in range(CHARACTERS):
            own = fitted[who, pose] if known[who] else np.array(middle) * sizes[who] / 11
            table[who, pose] = tuple(own)
    return table


_BODY_DEFAULTS = (
    (1.0, 2.5, 9.0, 2.5), (1.0, 2.5, 6.0, 2.5), (1.0, 5.0, 11.0, 3.0), (0.0, 1.0, 4.0, 2.5),
)  # fmt: skip
"""Of somebody as large as Fox: standing, crouching, in the air, lying."""


def _poses() -> np.ndarray:
    table = np.full((2, act.ACTIONS), GROUND, np.int8)
    air, ground = table
    air[:], air[act.SPECIAL_FIRST :] = AIR, SPECIAL_AIR
    air[act.NAIR : act.DAIR + 1] = AERIAL
    air[act.DAMAGE_FIRST : act.DAMAGE_LAST + 1] = air[act.TUMBLE] = FLIES
    ground[act.TURN : act.RUN_BRAKE + 1] = DASHES
    ground[act.SQUAT : act.SQUAT_RISE + 1] = ground[act.DTILT] = CROUCH
    for first, last in ((24, 24), (42, 43), (70, 74)):
        ground[first : last + 1] = LANDS
    ground[act.JAB_1 : act.DTILT] = ground[act.FSMASH_HIGH : act.DSMASH + 1] = ATTACK
    ground[act.DAMAGE_FIRST : act.DAMAGE_LAST + 1] = FLINCHES
    ground[act.SPECIAL_FIRST :] = SPECIAL
    for first in (act.DOWN_BOUND_UP, act.DOWN_BOUND_DOWN):
        ground[first : first + 3] = DOWN
    return table


_THROW_DEFAULTS = {
    219: (5.0, 45.0, 80.0, 50.0, 0.0, 12.0, 36.0, 0.0, 0.0, 0, 53, 88),
    220: (5.0, 125.0, 80.0, 50.0, 0.0, 15.0, 44.0, 0.0, 0.0, 0, 54, 88),
    221: (5.0, 90.0, 80.0, 60.0, 0.0, 12.0, 44.0, 0.0, 0.0, 0, 55, 90),
    222: (5.0, 80.0, 50.0, 60.0, 0.0, 20.0, 44.0, 0.0, 0.0, 0, 56, 90),
    217: (3.0, 0.0, 0.0, 0.0, 0.0, 9.0, 24.0, 0.0, 0.0, 0, 52, 0),
}
"""Of a throw that no game shows: about the middle of those that are known."""


def _throw_at(action: int) -> int:
    return 4 if action == act.PUMMEL else action - act.THROW_F


def _throws() -> np.ndarray:
    table = np.zeros((CHARACTERS, 5), THROW)
    for action, values in _THROW_DEFAULTS.items():
        table[:, _throw_at(action)] = values
    for row in read_rows(data_file("throws.csv")):
        throw = table[int(row["character"]), _throw_at(int(row["action"]))]
        for name in THROW.names or ():
            throw[name] = float(row[name])
    # Where nobody was seen to end one, it ends soon after the release.
    table["length"] = np.maximum(table["length"], table["age"] + 10)
    return table


def _held() -> np.ndarray:
    """Places of who is held; ages that no game shows are the last before them."""
    table = np.full((CHARACTERS, HOLDS, HELD_AGES, 2), np.nan, np.float32)
    for row in read_rows(data_file("held.csv")):
        key = int(row["character"]), int(row["action"]) - act.GRAB_PULL, int(row["age"])
        table[key] = float(row["x"]), float(row["y"])
    for hold in table.reshape(-1, HELD_AGES, 2):
        last = (9.0, 0.0)
        for at in range(HELD_AGES):
            if np.isnan(hold[at, 0]):
                hold[at] = last
            last = tuple(hold[at])
    return table


def _bubbles() -> np.ndarray:
    table = np.zeros(CHARACTERS, BUBBLE)
    table["x"], table["y"], table["radius"] = 1.0, 9.0, 9.0
    for row in read_rows(data_file("bubbles.csv")):
        values = (float(row[name]) for name in BUBBLE.names or ())
        table[int(row["character"])] = tuple(values)
    return table

"""What a replay's version did not record: marked in `absent`, and derived as far as that goes.

Since which version a field is recorded stands in the schema (`Field.since`), and what that means
for a payload table in `events.RECORDED`. A group of columns that a file lacks has its bit set in
`absent` on every row, also where values could be derived: derived is not recorded, and the policy
may weigh it otherwise. Moving stage parts count as lacking only where the stage has some.

Derived, with the share of values that are right on games of 3.8 and later taken as old ones
(`tests/replays/test_absent.py` measures it):

- hitlag (from 2.0 on) from the state flag "in hitlag", counted down to the flag's end. The flag is
  in the bytes only, so `exphil_tf.replays.repair` writes it into the payloads that it lengthens;
  99.5 % of frames in hitlag, and all of those outside.
- speeds (before 3.5) from the step since the frame before. A step does not tell a character's own
  speed from knockback: in a damage action it counts as knockback but for what gravity adds, else as
  its own. Own speeds 89 % (sideways) and 92 % (upwards), 94 % on the ground; knockback 93 % and
  96 %; their sum in the air 96 % and 94 %. Pushes, platforms and stage edges move characters too.
- standing on the ground (before 2.0) from the action: 98 %; jumps from it and the actions since:
  93 %.

Not derived: hitstun (before 2.0), invulnerability (before 2.1), items (before 3.0), their owners
(before 3.6), moving stage parts (before 3.18). They hold 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exphil_tf.features.schema import PLAYERS, SCHEMA, Group
from exphil_tf.melee.enums import HITSTUN_ACTIONS, Character, Stage
from exphil_tf.melee.falling import fall_table
from exphil_tf.melee.types import GameInfo
from exphil_tf.replays import events

_MOVING_STAGES = (Stage.FOUNTAIN_OF_DREAMS, Stage.DREAMLAND, Stage.POKEMON_STADIUM)
_LONGEST_STEP = 20.0
"""Game units; beyond it a character was put elsewhere (a new stock), faster than any throw."""
_DEAD_ACTIONS = 14
"""Actions below this are deaths and rebirths, which move a character without speed."""
_AIRBORNE_ACTIONS = (
    (0, 13), (25, 38), (65, 69), (76, 77), (79, 80), (83, 93), (100, 107), (109, 115), (183, 183),
    (185, 185), (190, 191), (193, 193), (202, 211), (223, 225), (236, 236), (243, 244), (247, 248),
    (250, 263), (275, 276), (322, 324),
)  # fmt: skip
"""Common actions in which most characters are in the air; from 341 on they differ by character."""
_FIRST_SPECIAL = 341
_AERIAL_JUMPS = (27, 28)
_CLIFF_ACTIONS = (252, 263)
_SIX_JUMPS = (Character.KIRBY, Character.JIGGLYPUFF)


def bits(info: GameInfo, sizes: Mapping[int, int]) -> int:
    """The bits of `absent` that hold for every row of a game.

    Args:
      info: its stage tells which parts move.
      sizes: payload table, sizes with the command byte.
    """
    lacking = 0
    for field in SCHEMA.fields:
        if field.since in events.RECORDED and not _rests(field.group, info):
            code, size = events.RECORDED[field.since]
            lacking |= SCHEMA.absent_bit(field) if sizes.get(code, 0) < size else 0
    return lacking


def _rests(group: Group, info: GameInfo) -> bool:
    """Whether a stage field needs no recording, as nothing on the stage moves by chance."""
    frozen = info.stage == Stage.POKEMON_STADIUM and info.is_frozen_ps
    return group is Group.STAGE and (info.stage not in _MOVING_STAGES or frozen)


def fields(lacking: int) -> tuple[str, ...]:
    """Names of the fields that bits of `absent` mark, in schema order."""
    return tuple(f.name for f in SCHEMA.fields if SCHEMA.absent_bit(f) & lacking)


def hitlag_left(frame: np.ndarray, flag: np.ndarray) -> np.ndarray:
    """int64 `[rows]`: frames of hitlag left of one character, from the flag "in hitlag".

    Args:
      frame: int32 `[rows]`, frame ids in the file's order, with repeats where the game rolled back.
      flag: bool `[rows]`.
    """
    ids, latest = np.unique(frame[::-1], return_index=True)
    on = flag[::-1][latest]
    index = np.arange(len(ids))
    stop = np.minimum.accumulate(np.where(on, len(ids), index)[::-1])[::-1]
    left = (stop - index)[np.searchsorted(ids, frame)]
    return np.where(flag, np.maximum(left, 1), 0)


def derive(columns: dict[str, np.ndarray], lacking: int) -> dict[str, np.ndarray]:
    """The columns with derived values in place of those that a version lacks.

    Args:
      columns: the schema's, plausible; what lacks holds zeros or anything.
      lacking: from `bits`.
    """
    marked = fields(lacking)
    result = columns | {
        name: np.zeros_like(columns[name]) for name in marked if _is_underived(name)
    }
    for letter in ("p", "n"):
        for player in range(PLAYERS):
            body = {n[2:]: result[n][:, player] for n in result if n[:2] == f"{letter}."}
            own = {name[2:] for name in marked if name[:2] == f"{letter}."}
            for name, values in _derive_body(body, own).items():
                column = result[f"{letter}.{name}"].copy()
                column[:, player] = np.where(_present(body), values, 0)
                result[f"{letter}.{name}"] = column
    result["absent"] = result["absent"] | np.uint8(lacking)
    return result


def _is_underived(name: str) -> bool:
    return name[2:] not in ("hitlag", "on_ground", "jumps_left") and "speed" not in name[:7]


def _present(body: Mapping[str, np.ndarray]) -> np.ndarray:
    return body.get("exists", np.ones(len(body["x"]))) != 0


def _derive_body(body: Mapping[str, np.ndarray], lacking: set[str]) -> dict[str, np.ndarray]:
    derived: dict[str, np.ndarray] = {}
    if "on_ground" in lacking:
        derived["on_ground"] = on_ground(body["action"], body["y"])
        derived["jumps_left"] = jumps_left(
            body["action"], body["character"], derived["on_ground"] != 0
        )
    if "speed_y_self" in lacking:
        ground = derived.get("on_ground", body["on_ground"]) != 0
        derived |= speeds(body, ground & _present(body), _present(body))
    return derived


def on_ground(action: np.ndarray, y: np.ndarray) -> np.ndarray:
    """uint8 `[frames]` from action and height; special moves stand where the height stays."""
    table = np.ones(_FIRST_SPECIAL, np.uint8)
    for first, last in _AIRBORNE_ACTIONS:
        table[first : last + 1] = 0
    rests = np.diff(y, prepend=y[:1]) == 0
    return np.where(action < _FIRST_SPECIAL, table[np.minimum(action, _FIRST_SPECIAL - 1)], rests)


def jumps_left(action: np.ndarray, character: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """uint8 `[frames]`: all on the ground, one less in the air, less the jumps begun there."""
    most = np.where(np.isin(character, _SIX_JUMPS), 6, 2)
    ledge = (action >= _CLIFF_ACTIONS[0]) & (action <= _CLIFF_ACTIONS[1])
    begins = np.isin(action, _AERIAL_JUMPS)
    begins[1:] &= action[1:] != action[:-1]
    jumps = np.cumsum(begins)
    resting = ground | ledge
    since = np.maximum.accumulate(np.where(resting, np.arange(len(action)), 0))
    used = jumps - jumps[since]
    return np.maximum(np.where(ground, most, most - 1 - used), 0).astype(np.uint8)


def speeds(
    body: Mapping[str, np.ndarray], ground: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """The five speeds, float32 `[frames]`, from the steps between frames."""
    action = body["action"]
    known = (action >= _DEAD_ACTIONS) & present
    known[1:] &= present[:-1]
    known[:1] = False
    step: dict[str, np.ndarray] = {}
    for axis in ("x", "y"):
        moved = np.diff(body[axis], prepend=body[axis][:1])
        step[axis] = np.where(known & (np.abs(moved) <= _LONGEST_STEP), moved, np.float32(0))
    first, last = HITSTUN_ACTIONS
    hit = (action >= first) & (action <= last)
    frozen = (body["hitlag"] > 0) | ((step["x"] == 0) & (step["y"] == 0))
    flies = hit & ~ground & known & ~frozen
    falling = np.where(flies, _fall_speed(body["character"], flies), 0)
    return {
        "speed_air_x_self": np.where(hit, 0, step["x"]),
        "speed_ground_x_self": np.where(ground & ~hit, step["x"], 0),
        "speed_y_self": np.where(hit, falling, np.where(ground, 0, step["y"])),
        "speed_x_attack": np.where(hit, step["x"], 0),
        "speed_y_attack": np.where(flies, step["y"] - falling, 0),
    }


def _fall_speed(character: np.ndarray, flies: np.ndarray) -> np.ndarray:
    """float32 `[frames]`: vertical speed that its own weight gives a hit character."""
    index = np.arange(len(flies))
    since = index - np.maximum.accumulate(np.where(flies, -1, index))
    gravity, terminal = fall_table()[character].T
    return np.maximum(-gravity * since.astype(np.float32), -terminal)

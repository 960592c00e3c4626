"""Observations of the championship's arena (UMI) → schema columns, many games at once.

UMI's frame and the schema agree on units and ids, but for these (seen in its own fixtures):

* action frames are `int(state_age)`; the schema adds 1 where libmelee does (`zero_index`), leaders
  only.
* sticks and shoulder are 0…1 with the middle at 0.5; stages have libmelee's ids.
* percent is floored, which costs what noise in training covers.
* of moving stage parts it tells Fountain of Dreams' platforms and Randall, not Whispy's wind and
  Pokémon Stadium's transformation: those two stages count as not recorded, as in old replays.
* all fifteen items are there; the five of the schema are chosen by its own rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exphil_tf.features.character_state import CharacterTrackers
from exphil_tf.features.field import Field, Group
from exphil_tf.features.item_slots import NO_ITEMS, Items, ItemTrackers
from exphil_tf.features.schema import SCHEMA
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.controls import AXES, STICK_STEPS, TRIGGER_STEPS
from exphil_tf.melee.enums import HITSTUN_ACTIONS, STAGE_FROM_LIBMELEE, Stage

_SAME = (
    "percent", "x", "y", "speed_air_x_self", "speed_ground_x_self", "speed_y_self",
    "speed_x_attack", "speed_y_attack", "action", "action_frame", "character", "facing",
    "jumps_left", "on_ground", "invulnerable",
)  # fmt: skip
_OTHERWISE = {
    "shield": "shield_strength",
    "hitlag": "hitlag_left",
    "hitstun": "hitstun_left",
    "stock": "stocks",
}
_MOVING = (3, 18)
"""The version that records moving stage parts."""
_UNTOLD_STAGES = (Stage.DREAMLAND, Stage.POKEMON_STADIUM)
_STAGE_IDS = np.zeros(256, np.uint8)
for _libmelee, _external in STAGE_FROM_LIBMELEE.items():
    _STAGE_IDS[_libmelee] = _external
_IS_UNTOLD = np.isin(np.arange(256), _UNTOLD_STAGES)
_BOUNDS = {field.name: field for field in SCHEMA.fields}
_SOURCES = {name: name for name in _SAME} | _OTHERWISE
_PLACES = {name: place for place, name in enumerate(_SOURCES)}
_LEAST, _MOST = (
    {
        group: np.array([getattr(_BOUNDS[f"{group}.{name}"], edge) for name in _SOURCES], float)
        for group in ("p", "n")
    }
    for edge in ("low", "high")
)
"""Bounds of what `_SOURCES` names."""
_UNTOLD = [f.name for f in SCHEMA.group(Group.STAGE) if f.since == _MOVING]


class UmiFrames:
    """Frames of games that come and go, each in a row of its own.

    Args:
      rows: games that are kept.
      zero_index: bool `[256, actions]`, see `melee.enums.zero_index_table`.
    """

    def __init__(self, rows: int, zero_index: np.ndarray):
        self._zero_index = zero_index
        self._items, self._tracker = ItemTrackers(rows), CharacterTrackers(rows)

    def read(self, frames: Any, rows: np.ndarray, *, begins: np.ndarray) -> dict[str, np.ndarray]:
        """Schema columns `[batch, …]`, own player first.

        Args:
          frames: UMI's `Frame` records `[batch]`.
          rows: int `[batch]`: where each game is kept.
          begins: bool `[batch]`: it is the game's first observation.
        """
        columns = SCHEMA.zeros(len(frames))
        columns["frame"][...] = np.maximum(frames["frame"], _BOUNDS["frame"].low)
        for group, bodies in (("p", frames["players"]), ("n", frames["nana"])):
            self._put_bodies(columns, bodies, group)
        _put_controllers(columns, frames["players"]["controller"])
        columns |= self._items.step(_items(frames["items"]), rows, begins=begins)
        columns |= _stage(frames, columns)
        columns |= self._tracker.step(columns, rows, begins=begins)
        return columns

    def _put_bodies(self, columns: dict[str, np.ndarray], bodies: Any, group: str) -> None:
        exists = bodies["exists"] != 0
        if group == "n":
            if not exists.any():
                return
            columns["n.exists"][...] = exists
        parts = [bodies[source] for source in _SOURCES.values()]
        values, action = np.stack(parts, -1, dtype=np.float64), bodies["action"]
        first, last = HITSTUN_ACTIONS
        values[..., _PLACES["hitstun"]] *= (action >= first) & (action <= last)
        if group == "p":
            at = bodies["character"], np.minimum(action, self._zero_index.shape[1] - 1)
            values[..., _PLACES["action_frame"]] += self._zero_index[at]
        bounded = np.fmin(np.fmax(values, _LEAST[group]), _MOST[group])
        bounded[values != values] = 0  # noqa: PLR0124 - a NaN
        if group == "n":
            bounded *= exists[..., None]
        for name, place in _PLACES.items():
            columns[f"{group}.{name}"][...] = bounded[..., place]


def _within(field: Field, values: np.ndarray) -> np.ndarray:
    """Values within a field's bounds; what is no number counts as 0."""
    if values.dtype.kind == "u":
        return np.minimum(values, values.dtype.type(min(field.high, np.iinfo(values.dtype).max)))
    bounded = np.fmin(np.fmax(values, field.low), field.high)
    is_none = values != values  # noqa: PLR0124 - a NaN
    return np.where(is_none, 0, bounded) if is_none.any() else bounded


def _put_controllers(columns: dict[str, np.ndarray], pads: Any) -> None:
    sticks = _unit(np.stack([pads[axis] for axis in AXES]))
    steps = np.rint((sticks - 0.5) * (2 * STICK_STEPS)) / np.float32(STICK_STEPS)
    for axis, values in zip(AXES, steps, strict=True):
        columns[f"c.{axis}"][...] = values
    steps = np.rint(_unit(pads["shoulder"]) * TRIGGER_STEPS)
    columns["c.shoulder"][...] = steps / np.float32(TRIGGER_STEPS)
    columns["c.buttons"][...] = pads["buttons"]


def _unit(values: np.ndarray) -> np.ndarray:
    found = np.fmin(np.fmax(values.astype(np.float64), 0), 1)
    found[values != values] = 0.5  # noqa: PLR0124 - a NaN
    return found


def _items(slots: Any) -> Items:
    """Those present of `[batch, 15]`, one entry each."""
    row, place = np.nonzero(slots["exists"])
    if not len(row):
        return NO_ITEMS
    there = slots[row, place]
    return Items(
        row.astype(np.int64),
        there["spawn_id"].astype(np.int64),
        there["type"].astype(np.int64),
        there["state"].astype(np.int64),
        np.nan_to_num(there["timer"]),
        _within(_BOUNDS["i.x"], there["x"]),
        _within(_BOUNDS["i.y"], there["y"]),
        _within(_BOUNDS["i.speed_x"], there["vx"]),
        _within(_BOUNDS["i.speed_y"], there["vy"]),
        there["owner"].astype(np.int64),
    )


def _stage(frames: Any, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    stage = _STAGE_IDS[frames["stage"]]
    found = stage_columns(0, columns["frame"])
    found["s.stage"][...] = stage
    at = stage == Stage.FOUNTAIN_OF_DREAMS
    for side in ("left", "right") if at.any() else ():
        found[f"s.fod_{side}"][at] = _within(_BOUNDS[f"s.fod_{side}"], frames[f"fod_{side}"][at])
    at = stage == Stage.YOSHIS_STORY
    for axis in ("x", "y") if at.any() else ():
        values = frames[f"randall_{axis}"][at]
        found[f"s.randall_{axis}"][at] = _within(_BOUNDS[f"s.randall_{axis}"], values)
    untold = _IS_UNTOLD[stage]
    for name in _UNTOLD:
        found[name][untold] = 0
    bit = SCHEMA.absent_bits[_MOVING]
    return found | {"absent": np.where(untold, bit, 0).astype(np.uint8)}

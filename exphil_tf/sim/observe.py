"""What a frame of a world looks like: as the schema's columns, and as a policy's inputs.

A kernel writes all values of a frame side by side, in the schema's order (`FRAME_VALUES` numbers),
and gathers from there what a policy reads, once for each player with that player first. Where a
column begins is looked up in a table that is made of the schema; nothing is written down twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.field import PLAYERS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee import specials, stages
from exphil_tf.melee.enums import HITSTUN_ACTIONS, Stage
from exphil_tf.sim.compiled import kernel, rule
from exphil_tf.sim.rules.keeps import counted_frame
from exphil_tf.sim.stage_lines import STAGES
from exphil_tf.sim.tables import tables

_FOUNTAIN, _YOSHIS, _STADIUM = (
    STAGES.index(one)
    for one in (Stage.FOUNTAIN_OF_DREAMS, Stage.YOSHIS_STORY, Stage.POKEMON_STADIUM)
)
_RANDALL_PERIOD, _STADIUM_NORMAL = stages.RANDALL_PERIOD_FRAMES, stages.STADIUM_NORMAL
_FIRST_HURT, _LAST_HURT = HITSTUN_ACTIONS
_SPECIAL_SHIFT, _SPECIAL_BITS = specials.SPECIAL_SHIFT, specials.SPECIAL_BITS
_JUDGES = specials.JUDGES
_TOLD = -1
"""In place of an index: a condition, which the simulator does not know."""


def _width(name: str) -> int:
    return math.prod(SCHEMA.field(name).shape)


def _starts() -> dict[str, int]:
    widths = [_width(name) for name in SCHEMA.names]
    return dict(zip(SCHEMA.names, np.cumsum([0, *widths[:-1]]).tolist(), strict=True))


STARTS: Mapping[str, int] = _starts()
"""Where each column begins among the values of a frame."""
FRAME_VALUES = sum(_width(name) for name in SCHEMA.names)
_PLACES = np.dtype([(name.replace(".", "_"), "i4") for name in SCHEMA.names])


@functools.cache
def _places() -> np.ndarray:
    """`STARTS` as a record `[1]` for compiled code."""
    return np.array([tuple(STARTS.values())], _PLACES)


class Layout(NamedTuple):
    """Which columns a policy reads, and where: of `InputLayout`, or of a bundle's `columns`."""

    numbers: Mapping[str, slice]
    """Float columns, of the row's width."""
    ids: Mapping[str, slice]
    """Columns that index tables; conditions among them are left as they are."""

    @classmethod
    def of_bundle(cls, columns: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Layout:
        """Of `bundle.config.columns`."""
        return cls(
            *({name: slice(place["start"], place["stop"]) for name, place in columns[kind].items()}
              for kind in ("numbers", "ids"))
        )  # fmt: skip


class Observer:
    """Writes frames of matches into arrays that stay where they are.

    Args:
      count: matches.
      layout: of a policy's inputs; None for columns alone.

    Raises: ValueError: if the layout names a column that the schema does not have.
    """

    def __init__(self, count: int, layout: Layout | None = None) -> None:
        self.values = np.zeros((count, FRAME_VALUES), np.float32)
        """float32 `[matches, FRAME_VALUES]`: every column side by side, players in port order."""
        numbers, ids = ({}, {}) if layout is None else layout
        self._numbers_from, self._ids_from = _sources(numbers), _sources(ids)
        self.numbers = np.zeros((count, PLAYERS, self._numbers_from.shape[1]), np.float32)
        """float32 `[matches, 2, numbers]`: raw game values as each player sees them, own first."""
        self.ids = np.zeros((count, PLAYERS, self._ids_from.shape[1]), np.int32)
        """int32 `[matches, 2, ids]`, alike; what a policy is told stays as it is."""

    def write(self, matches: np.ndarray, part: slice) -> None:
        """Writes the frames of `MATCH` `[matches]`, or of a part of them."""
        write_frames(
            matches[part], matches["players"][part], self.values[part], _places(), tables()
        )
        join_frames(self.values[part], self.numbers[part], self._numbers_from)
        join_frames(self.values[part], self.ids[part], self._ids_from)

    def columns(self) -> dict[str, np.ndarray]:
        """The schema's columns of what was written, `[matches, *field.shape]`; copies."""
        return {
            field.name: self.values[:, STARTS[field.name] : STARTS[field.name] + _width(field.name)]
            .reshape(-1, *field.shape)
            .astype(field.dtype)
            for field in SCHEMA.fields
        }


def observe(matches: np.ndarray) -> dict[str, np.ndarray]:
    """The schema's columns `[matches, *field.shape]` of `MATCH` `[matches]`, in port order."""
    observer = Observer(len(matches))
    observer.write(matches, slice(0, len(matches)))
    return observer.columns()


def _sources(places: Mapping[str, slice]) -> np.ndarray:
    """int32 `[2, width]`: the value that each place shows to each player."""
    found = np.full((PLAYERS, max((p.stop for p in places.values()), default=0)), _TOLD, np.int32)
    for name, place in places.items():
        if name in CONDITIONS:
            continue
        if name not in STARTS or place.stop - place.start != _width(name):
            raise ValueError(f"layout: want the schema's columns. Received: {name}: {place}")
        order = np.arange(_width(name))
        is_per_player = SCHEMA.field(name).shape == (PLAYERS,)
        found[0, place] = STARTS[name] + order
        found[1, place] = STARTS[name] + (order[::-1] if is_per_player else order)
    return found


@kernel
def write_frames(matches, players, values, places, table):
    """Every value of every match.

    Args:
      matches: `MATCH` `[matches]`.
      players: their `players`, `[matches, 2]`.
      values: float32 `[matches, FRAME_VALUES]`, written.
      places: where columns begin, `[1]`.
      table: `TABLES` `[1]`.
    """
    at = places[0]
    for one in range(len(matches)):
        _write_stage(matches[one], values[one], at, table[0])
        for seat in range(PLAYERS):
            _write_player(players[one, seat], seat, values[one], at, table[0])
            _write_controller(players[one, seat], seat, values[one], at)


@rule
def _write_stage(match, row, at, table):
    row[at.frame] = match.frame
    row[at.s_stage] = table.stage_id[match.stage]
    row[at.s_fod_left] = match.heights[0] if match.stage == _FOUNTAIN else 0.0
    row[at.s_fod_right] = match.heights[1] if match.stage == _FOUNTAIN else 0.0
    row[at.s_stadium] = _STADIUM_NORMAL if match.stage == _STADIUM else 0
    if match.stage == _YOSHIS:
        row[at.s_randall_x] = table.randall[match.frame % _RANDALL_PERIOD, 0]
        row[at.s_randall_y] = table.randall[match.frame % _RANDALL_PERIOD, 1]
    else:
        row[at.s_randall_x] = 0.0
        row[at.s_randall_y] = 0.0


@rule
def _write_player(p, seat, row, at, table):
    row[at.p_percent + seat] = p.percent
    row[at.p_x + seat] = p.x
    row[at.p_y + seat] = p.y
    row[at.p_speed_air_x_self + seat] = p.vx
    row[at.p_speed_ground_x_self + seat] = p.ground_speed
    row[at.p_speed_y_self + seat] = p.vy
    row[at.p_speed_x_attack + seat] = p.kx
    row[at.p_speed_y_attack + seat] = p.ky
    row[at.p_shield + seat] = p.shield
    row[at.p_action + seat] = p.action
    row[at.p_action_frame + seat] = counted_frame(p, table)
    is_hurt = _FIRST_HURT <= p.action <= _LAST_HURT
    row[at.p_hitstun + seat] = int(p.hitstun) if is_hurt else 0
    row[at.p_hitlag + seat] = int(p.hitlag)
    row[at.p_character + seat] = p.character
    row[at.p_facing + seat] = p.facing > 0
    row[at.p_jumps_left + seat] = p.jumps
    row[at.p_on_ground + seat] = p.grounded
    row[at.p_invulnerable + seat] = p.safe_frames > 0
    row[at.p_stock + seat] = p.stock
    code = int(p.was_code)
    row[at.p_charge + seat] = p.charge
    row[at.p_lift_spent + seat] = p.lift_spent
    row[at.p_judge_last + seat] = p.judge_last if code & _JUDGES else 0
    row[at.p_judge_before + seat] = p.judge_before if code & _JUDGES else 0
    row[at.p_special_state + seat] = code >> _SPECIAL_SHIFT & _SPECIAL_BITS


@rule
def _write_controller(p, seat, row, at):
    row[at.c_main_x + seat] = p.stick_x
    row[at.c_main_y + seat] = p.stick_y
    row[at.c_c_x + seat] = p.c_x
    row[at.c_c_y + seat] = p.c_y
    row[at.c_shoulder + seat] = p.trigger
    row[at.c_buttons + seat] = p.buttons


@kernel
def join_frames(values, joined, sources):
    """What each player's policy reads, of the values of each match.

    Args:
      values: float32 `[matches, FRAME_VALUES]`.
      joined: float32 or int32 `[matches, 2, width]`, written but where nothing is known.
      sources: int32 `[2, width]`: indices of values; below 0 where nothing is known.
    """
    for one in range(len(values)):
        for seat in range(PLAYERS):
            for place in range(sources.shape[1]):
                source = sources[seat, place]
                if source >= 0:
                    joined[one, seat, place] = values[one, source]

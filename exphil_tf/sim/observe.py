"""What a frame of a world looks like: as the schema's columns, and as a policy's inputs.

A kernel writes all values of a frame side by side, in the schema's order (`FRAME_VALUES` numbers),
and gathers from there what a policy reads, once for each player with that player first. Where a
column begins is looked up in a table that is made of the schema; nothing is written down twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.field import PLAYERS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.sim.kernel import play_matches
from exphil_tf.sim.pads import CONTROLLER_VALUES, neutral
from exphil_tf.sim.rules.events import EVENTS
from exphil_tf.sim.tables import tables

_TOLD = -1
"""In place of an index: a condition, which the simulator does not know."""
_ALL = np.zeros(0, np.int64)
"""In place of indices of matches that are only seen: all are played."""
NOTHING_ELSE = (
    np.zeros((0, PLAYERS, CONTROLLER_VALUES), np.float32),
    np.zeros((0, PLAYERS), np.int8),
    np.zeros(0, EVENTS),
)
"""Controllers, scripts and events for `play_matches`, where there are none."""


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
        self.sources = (_places(), _sources(numbers), _sources(ids))
        """Of what is seen, for compiled code; see `rules.frames.show`."""
        _, of_numbers, of_ids = self.sources
        self.numbers = np.zeros((count, PLAYERS, of_numbers.shape[1]), np.float32)
        """float32 `[matches, 2, numbers]`: raw game values as each player sees them, own first."""
        self.ids = np.zeros((count, PLAYERS, of_ids.shape[1]), np.int32)
        """int32 `[matches, 2, ids]`, alike; what a policy is told stays as it is."""

    def part(self, part: slice, which: np.ndarray = _ALL) -> tuple[Any, ...]:
        """What is seen of some matches, as `play_matches` takes it, from `which` on."""
        return which, self.values[part], self.numbers[part], self.ids[part], self.sources

    def write(self, matches: np.ndarray, which: np.ndarray) -> None:
        """Writes the frames of some of `MATCH` `[matches]`; int `[some]` says which."""
        if len(which):
            seen = self.part(slice(None), which.astype(np.int64))
            play_matches(matches, neutral(0), *NOTHING_ELSE, *seen, tables())

    def columns(self) -> dict[str, np.ndarray]:
        """The schema's columns of what was written, `[matches, *field.shape]`; copies."""
        return columns_of(self.values)


def columns_of(values: np.ndarray) -> dict[str, np.ndarray]:
    """The schema's columns `[…, *field.shape]` of float32 `[…, FRAME_VALUES]`; copies."""
    found: dict[str, np.ndarray] = {}
    for field in SCHEMA.fields:
        start = STARTS[field.name]
        part = values[..., start : start + _width(field.name)]
        found[field.name] = part.reshape(*values.shape[:-1], *field.shape).astype(field.dtype)
    return found


def observe(matches: np.ndarray) -> dict[str, np.ndarray]:
    """The schema's columns `[matches, *field.shape]` of `MATCH` `[matches]`, in port order."""
    observer = Observer(len(matches))
    observer.write(matches, np.arange(len(matches)))
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

"""Matches of the simulator."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.rewards.playing import COLUMNS
from exphil_tf.rl.matches import Controllers
from exphil_tf.rl.seats import BothSides, Seats
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.observe import STARTS, Layout
from exphil_tf.sim.rules.events import EVENTS
from exphil_tf.sim.state import INPUT, MATCH
from models.layers.embedding_layout import InputLayout

_SEED_SHIFT = np.uint64(32)
_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples lie evenly between whole numbers, wherever one stops, and in no order."""


class SimMatches:
    """`Matches` of `exphil_tf.sim.environment`.

    Args:
      characters: of both players of each match.
      stages: of each match.
      layout: of the policy that learns; what others read takes a detour.
      limit_frames: frames after which a match is over.
      seed: of what scripts draw; each game of each match has its own.
      staggered: the first games are cut short, each elsewhere. Games that all begin at once stay as
        old as one another, and a batch shows but one age.
    """

    restarts = 0
    """Nothing is ever started again."""

    def __init__(
        self,
        characters: Sequence[tuple[Character, Character]],
        stages: Sequence[Stage],
        *,
        layout: InputLayout,
        limit_frames: int,
        seed: int,
        staggered: bool = False,
    ):
        self.count = len(stages)
        self._layout, self._seed = layout, np.uint64(seed)
        self._environment = Environment(
            np.array([[int(one) for one in pair] for pair in characters]),
            [int(stage) for stage in stages],
            layout=Layout(*layout),
            limit_frames=limit_frames,
        )
        self._scripts = [["", ""] for _ in stages]
        self._games = np.zeros(self.count, np.uint64)
        self._sides: dict[str, BothSides] = {}
        self.reset(np.arange(self.count))
        if staggered:
            share = (np.arange(1, self.count + 1) * _GOLDEN) % 1.0
            self._environment.world.matches["limit"] = GO_FRAME + np.ceil(limit_frames * share)

    @property
    def is_over(self) -> np.ndarray:
        """Bool `[matches]`."""
        return self._environment.events["done"].copy()

    @property
    def is_broken_off(self) -> np.ndarray:
        """Bool `[matches]`: none is ever lost."""
        return np.zeros(self.count, bool)

    def reset(self, which: np.ndarray) -> None:
        """Begins new games."""
        place = np.arange(self.count, dtype=np.uint64)[which] << np.uint64(16)
        self._games[which] += np.uint64(1)
        seeds = (self._seed << _SEED_SHIFT) + place + self._games[which]
        self._environment.reset(which, seeds)

    def columns(self) -> Mapping[str, np.ndarray]:
        """Columns for rewards and results, float32 views of this frame."""
        values = self._environment.values
        return {name: _column(values, name) for name in COLUMNS}

    def inputs(self, layout: InputLayout) -> tuple[np.ndarray, np.ndarray]:
        """See `Matches.inputs`."""
        if layout == self._layout:
            return self._environment.numbers, self._environment.ids
        sides = self._sides.setdefault(str(layout), BothSides(layout))
        return sides.of(self._environment.columns())

    def step(self, controllers: Controllers) -> None:
        """One frame of every match that is not over."""
        self._environment.step(controllers)

    def seat_script(self, name: str, seats: Seats) -> None:
        """A scripted player of `exphil_tf.sim.opponents`."""
        for match, player in zip(seats.match, seats.player, strict=True):
            self._scripts[match][player] = name
        pairs = [(one, other) for one, other in self._scripts]
        self._environment.set_scripts(np.arange(self.count), pairs)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides what happens next, by name."""
        environment = self._environment
        records = (environment.world.matches, environment.events, environment.pads)
        found = {
            name: np.frombuffer(record.tobytes(), np.uint8)
            for name, record in zip(_RECORDS, records, strict=True)
        }
        return {**found, "games": self._games, "version": _VERSION}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`; games begin anew if it is of other rules' records."""
        environment = self._environment
        if not np.array_equal(state.get("version", 0), _VERSION):
            return
        records = (environment.world.matches, environment.events, environment.pads)
        for name, record in zip(_RECORDS, records, strict=True):
            stored = np.frombuffer(state[name].tobytes(), record.dtype)
            record[...] = stored.reshape(record.shape)
        self._games[:] = state["games"]
        environment.observe_anew()

    def close(self) -> None:
        """There is nothing to end."""


_RECORDS = ("matches", "events", "pads")
_VERSION = np.array(zlib.crc32(repr([one.descr for one in (MATCH, EVENTS, INPUT)]).encode()))
"""Of what the records hold."""


def _column(values: np.ndarray, name: str) -> np.ndarray:
    shape = SCHEMA.field(name).shape
    start = STARTS[name]
    width = int(np.prod(shape, dtype=int))
    return values[:, start : start + width].reshape(-1, *shape)

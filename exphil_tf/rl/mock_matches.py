"""Matches of the toy world: no compilation, no tables, and yet stocks, percent and hits.

For smoke tests of learning, and for ladders of sanity: the game itself is `exphil_tf.sim.world`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exphil_tf.features.controller import to_bytes
from exphil_tf.features.controller_state import ControllerState
from exphil_tf.features.frame_builder import FrameBuilder
from exphil_tf.features.schema import Group
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.rl import generator_state
from exphil_tf.rl.matches import Controllers
from exphil_tf.rl.seats import BothSides, Seats
from exphil_tf.sim.moves import STATS, Action
from exphil_tf.sim.scripted import STYLES, ScriptedPlayers
from exphil_tf.sim.toy import Inputs, ToyWorld, observe_players
from models.layers.embedding_layout import InputLayout

IDLE = "idle"
_AXES = ("main_x", "main_y", "c_x", "c_y", "shoulder")
_UNKNOWN = ("p.charge", "p.lift_spent", "p.judge_last", "p.judge_before", "p.special_state")
"""Left at 0."""


class MockMatches:
    """`Matches` of the toy world.

    Args:
      characters: of both players of each match; those that the toy does not know play as Fox.
      stages: of each match.
      limit_frames: frames after which a match is over.
      seed: of the scripted players' moods.
    """

    def __init__(
        self,
        characters: Sequence[tuple[Character, Character]],
        stages: Sequence[Stage],
        *,
        limit_frames: int,
        seed: int,
    ):
        known = [[c if c in STATS else Character.FOX for c in pair] for pair in characters]
        self._setup = np.array(known), list(stages)
        self._fresh, self._world = (self._new_world() for _ in range(2))
        self._stages = np.array([int(stage) for stage in stages])
        self._limit = limit_frames
        self._age = np.zeros(self.count, np.int64)
        self._held = np.zeros((self.count, 2, 6), np.uint8)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._players: dict[str, tuple[ScriptedPlayers, Seats]] = {}
        self._sides: dict[str, BothSides] = {}
        self._seen: dict[str, np.ndarray] | None = None

    def _new_world(self) -> ToyWorld:
        characters, stages = self._setup
        world = ToyWorld(characters, stages)
        world.frame = GO_FRAME
        world.action[:] = Action.STANDING
        return world

    @property
    def count(self) -> int:
        """How many."""
        return len(self._stages)

    @property
    def is_over(self) -> np.ndarray:
        """Bool `[matches]`."""
        return (self._world.stock == 0).any(1) | (self._age >= self._limit)

    def reset(self, which: np.ndarray) -> None:
        """Begins new games, at the frame on which players may act."""
        for name, value in _arrays(self._fresh).items():
            array = getattr(self._world, name).copy()
            array[which] = value[which]
            setattr(self._world, name, array)
        self._seen = None
        self._age[which] = 0
        self._held[which] = 0

    def columns(self) -> dict[str, np.ndarray]:
        """The schema's columns of this frame."""
        if self._seen is None:
            self._seen = self._observe()
        return self._seen

    def inputs(self, layout: InputLayout) -> tuple[np.ndarray, np.ndarray]:
        """See `Matches.inputs`."""
        return self._sides.setdefault(str(layout), BothSides(layout)).of(self.columns())

    def _observe(self) -> dict[str, np.ndarray]:
        frame = GO_FRAME + self._age
        builder = FrameBuilder((self.count,))
        builder.put(Group.FRAME, {"frame": frame})
        builder.put(Group.PLAYER, observe_players(self._world))
        builder.put_columns(ControllerState.from_bytes(self._held).columns())
        builder.put_columns(stage_columns(self._stages, frame))
        builder.put_columns(dict.fromkeys(_UNKNOWN, 0))
        return builder.columns()

    def step(self, controllers: Controllers) -> None:
        """One frame of every match that is not over."""
        goes_on = ~self.is_over
        before = _arrays(self._world)
        held = to_bytes(
            {
                **dict(zip(_AXES, np.moveaxis(controllers[..., 8:], -1, 0), strict=True)),
                "buttons": controllers[..., :8],
            }
        )
        for players, seats in self._players.values():
            where = seats.match, seats.player
            held[where] = _bytes(players.act(self._world))[where]
        self._world.step(_inputs(held))
        self._seen = None
        if not goes_on.all():
            for name, value in before.items():
                mask = goes_on.reshape(-1, *[1] * (value.ndim - 1))
                setattr(self._world, name, np.where(mask, getattr(self._world, name), value))
        self._age += goes_on
        self._held[goes_on] = held[goes_on]

    def seat_script(self, name: str, seats: Seats) -> None:
        """A scripted player: a style of the sample games, or `idle`."""
        names = [style.name for style in STYLES]
        if name not in (IDLE, *names):
            raise ValueError(f"script: want one of {[IDLE, *names]}. Received: {name}")
        if name != IDLE:
            styles = np.full((self.count, 2), names.index(name))
            self._players[name] = ScriptedPlayers(styles, self._rng), seats

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides what happens next, by name."""
        found = {f"world.{name}": value for name, value in _arrays(self._world).items()}
        found |= {"age": self._age, "held": self._held, "rng": generator_state.to_array(self._rng)}
        for script, (players, _) in self._players.items():
            found |= {f"{script}.{name}": value for name, value in _arrays(players).items()}
        return found

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        for name in _arrays(self._world):
            setattr(self._world, name, state[f"world.{name}"].copy())
        self._age[:], self._held[:] = state["age"], state["held"]
        self._seen = None
        generator_state.restore(self._rng, state["rng"])
        for script, (players, _) in self._players.items():
            for name in _arrays(players):
                setattr(players, name, state[f"{script}.{name}"].copy())


def _arrays(thing: object) -> dict[str, np.ndarray]:
    """What changes from frame to frame, by attribute."""
    return {name: v for name, v in vars(thing).items() if isinstance(v, np.ndarray)}


def _inputs(held: np.ndarray) -> Inputs:
    state = ControllerState.from_bytes(held)
    columns = state.columns()
    sticks = (columns[f"c.{axis}"] for axis in ("main_x", "main_y", "c_x", "c_y", "shoulder"))
    return Inputs(*sticks, buttons=columns["c.buttons"])


def _bytes(inputs: Inputs) -> np.ndarray:
    values = {name: value for name, value in vars(inputs).items() if name != "buttons"}
    bits = np.unpackbits(inputs.buttons[..., None], axis=-1, bitorder="little")
    return to_bytes({**values, "buttons": bits})

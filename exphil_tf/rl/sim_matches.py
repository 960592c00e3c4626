"""Matches of the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.rl.matches import Controllers
from exphil_tf.rl.seats import BothSides, Seats
from exphil_tf.sim.observe import observe
from exphil_tf.sim.world import World, controllers
from models.layers.embedding_layout import InputLayout

IDLE = "idle"
_AXES = ("stick_x", "stick_y", "c_x", "c_y", "trigger")


class SimMatches:
    """`Matches` of `exphil_tf.sim.world.World`.

    Args:
      characters: of both players of each match.
      stages: of each match.
      limit_frames: frames after which a match is over.
    """

    def __init__(
        self,
        characters: Sequence[tuple[Character, Character]],
        stages: Sequence[Stage],
        *,
        limit_frames: int,
    ):
        ids = np.array([[int(one) for one in pair] for pair in characters])
        self._world = World(ids, [int(stage) for stage in stages], limit_frames=limit_frames)
        self._pads = controllers(len(stages))
        self._sides: dict[str, BothSides] = {}

    @property
    def count(self) -> int:
        """How many."""
        return len(self._pads)

    @property
    def is_over(self) -> np.ndarray:
        """Bool `[matches]`."""
        return self._world.is_over

    def reset(self, which: np.ndarray) -> None:
        """Begins new games."""
        self._world.reset(which)

    def columns(self) -> Mapping[str, np.ndarray]:
        """The schema's columns of this frame."""
        return observe(self._world.matches)

    def inputs(self, layout: InputLayout) -> tuple[np.ndarray, np.ndarray]:
        """See `Matches.inputs`."""
        return self._sides.setdefault(str(layout), BothSides(layout)).of(self.columns())

    def step(self, controllers: Controllers) -> None:
        """One frame of every match that is not over."""
        for place, name in enumerate(_AXES, start=8):
            self._pads[name] = controllers[..., place]
        self._pads["buttons"] = np.packbits(controllers[..., :8] > 0, -1, "little")[..., 0]
        self._world.step(self._pads)

    def seat_script(self, name: str, seats: Seats) -> None:
        """A scripted player; `idle` alone so far."""
        del seats
        if name != IDLE:
            raise ValueError(f"script: want one of {[IDLE]}. Received: {name}")

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides what happens next, by name."""
        whole = self._world.matches
        return {"matches": np.frombuffer(whole.tobytes(), np.uint8)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        whole = self._world.matches
        whole[...] = np.frombuffer(state["matches"].tobytes(), whole.dtype)

"""Matches to learn from and to measure in: controllers in, a policy's inputs and events out.

    environment = Environment(characters, stages, layout=layout, scripts=[("", "spacer")] * matches)
    environment.reset(seeds=np.arange(matches))
    while True:
        controllers[:, 0] = policy(environment.numbers[:, 0], environment.ids[:, 0])
        events = environment.step(controllers)
        environment.reset(np.flatnonzero(events["done"]))

Arrays stay where they are and are written anew by every step, also of matches that were reset, so
a policy can be handed the same views for ever. Python does nothing per match. A match's course is a
function of its characters, stage, seed and controllers alone, whatever is played beside it, by
however many threads. Rewards are made of `columns()` or of the events by whoever wants some
(`exphil_tf.rewards`); delays and action repeat are the player's business (`agents.agent`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exphil_tf.features.field import PLAYERS
from exphil_tf.melee.types import GO_FRAME, TIME_LIMIT_FRAMES
from exphil_tf.sim.kernel import play_matches
from exphil_tf.sim.observe import Layout, Observer
from exphil_tf.sim.opponents import EXTERNAL, script_ids
from exphil_tf.sim.pads import CONTROLLER_VALUES, neutral
from exphil_tf.sim.rules.events import EVENTS, NOBODY
from exphil_tf.sim.tables import tables
from exphil_tf.sim.world import World

_NO_CONTROLLERS = np.zeros((0, PLAYERS, CONTROLLER_VALUES), np.float32)


class Environment:
    """Matches of two players, who are played from outside or by scripts.

    Args:
      characters: int `[matches, 2]`, internal ids.
      stages: external stage id of each match.
      layout: of the inputs of the policy that plays, if one does (`observe.Layout`).
      scripts: per match the names of both players' scripts (`opponents.SCRIPTS`), "" for one who is
        played from outside; None for nobody but such.
      limit_frames: frames after which a match is over by time.
      first_frame: `GO_FRAME`, or `FIRST_FRAME` to begin with the countdown, as recorded games do.
      stadium_forms: whether Pokémon Stadium transforms; frozen, as matchmaking has it, if not.
      threads: that step the matches; the bits are the same.

    Raises: ValueError: naming what is unknown.
    """

    def __init__(
        self,
        characters: np.ndarray,
        stages: Sequence[int],
        *,
        layout: Layout | None = None,
        scripts: Sequence[tuple[str, str]] | None = None,
        limit_frames: int = TIME_LIMIT_FRAMES,
        first_frame: int = GO_FRAME,
        stadium_forms: bool = False,
        threads: int = 1,
    ) -> None:
        self.world = World(
            characters,
            stages,
            limit_frames=limit_frames,
            first_frame=first_frame,
            stadium_forms=stadium_forms,
            threads=threads,
        )
        count = len(self.world.matches)
        self.events = np.zeros(count, EVENTS)
        """`EVENTS` `[matches]` of the last frame."""
        self.pads = neutral(count)
        """`INPUT` `[matches, 2]`: what the game read on the last frame."""
        self._scripts = np.full((count, PLAYERS), EXTERNAL, np.int8)
        if scripts is not None:
            self._scripts[...] = script_ids(scripts)
        self._observer = Observer(count, layout)
        self.numbers, self.ids = self._observer.numbers, self._observer.ids
        self.reset()

    def __len__(self) -> int:
        """Matches."""
        return len(self.events)

    @property
    def values(self) -> np.ndarray:
        """float32 `[matches, FRAME_VALUES]`: all columns side by side, at `observe.STARTS`."""
        return self._observer.values

    def reset(self, which: np.ndarray | None = None, seeds: np.ndarray | None = None) -> None:
        """Begins matches anew.

        Args:
          which: int `[some]`, indices of matches; None for all.
          seeds: uint64 `[some]`, of what scripts draw; None draws as before.
        """
        if which is None:
            which = np.arange(len(self))
        if not len(which):
            return
        if seeds is None:
            seeds = self.world.matches["seed"][which]
        self.world.reset(which, seeds)
        fresh = np.zeros(len(which), EVENTS)
        fresh["winner"] = NOBODY
        fresh["stocks"] = self.world.players["stock"][which]
        self.events[which] = fresh
        self.pads[which] = 0
        self._observer.write(self.world.matches, which)

    def set_scripts(self, which: np.ndarray, scripts: Sequence[tuple[str, str]]) -> None:
        """Other players for some matches, from the next frame on; see the class."""
        self._scripts[which] = script_ids(scripts)

    def set_players(self, which: np.ndarray, characters: np.ndarray, stages: Sequence[int]) -> None:
        """Other characters and stages for some matches, from their next reset on."""
        self.world.set_players(which, characters, stages)

    def step(self, controllers: np.ndarray) -> np.ndarray:
        """One frame of every match that is not over.

        Args:
          controllers: float32 `[matches, 2, CONTROLLER_VALUES]` as a policy answers (8 buttons,
            main_x, main_y, c_x, c_y, shoulder); what a script plays is not read.

        Returns: `events`, which the next step overwrites.

        Raises: ValueError: if they are no such array, or not finite.
        """
        want = (len(self), PLAYERS, CONTROLLER_VALUES)
        if controllers.shape != want or controllers.dtype != np.float32:
            raise ValueError(
                f"controllers: want float32 {list(want)}. "
                f"Received: {controllers.dtype} {list(controllers.shape)}"
            )
        if not np.isfinite(controllers.sum()):
            raise ValueError("controllers: want finite numbers. Received: others")

        return self._play(np.ascontiguousarray(controllers))

    def step_pads(self, pads: np.ndarray) -> np.ndarray:
        """As `step`, of `INPUT` `[matches, 2]`: controllers as the game reads them."""
        if pads is not self.pads:
            self.pads[...] = pads
        return self._play(_NO_CONTROLLERS)

    def observe_anew(self) -> None:
        """Writes what there is to see, after matches were changed from outside."""
        self._observer.write(self.world.matches, np.arange(len(self)))

    def columns(self) -> dict[str, np.ndarray]:
        """The schema's columns `[matches, *field.shape]`, players in port order; copies."""
        return self._observer.columns()

    def _play(self, controllers: np.ndarray) -> np.ndarray:
        matches = self.world.matches

        def work(part: slice) -> None:
            play_matches(
                matches[part], self.pads[part], controllers[part], self._scripts[part],
                self.events[part], *self._observer.part(part), tables(),
            )  # fmt: skip

        self.world.shares.each(work)
        return self.events

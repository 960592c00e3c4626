"""What rollouts need of a game: many matches at once, whoever steps them.

`SimMatches` and `DolphinMatches` are what there is.

    matches.reset(np.flatnonzero(matches.is_over))
    numbers, ids = matches.inputs(layout)  # what a network reads, from both sides
    columns = matches.columns()            # for rewards and results
    matches.step(controllers)              # of both players, as policies answer

A match that is over stays as it is until it is reset, so that its last frame can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from exphil_tf.rl.seats import Seats
from models.layers.embedding_layout import InputLayout

Controllers = np.ndarray
"""float32 `[matches, players, 13]`: `JoinedStep.controller` of both players."""


class Matches(Protocol):
    """Matches of two players, stepped together."""

    @property
    def count(self) -> int:
        """How many."""
        ...

    @property
    def is_over(self) -> np.ndarray:
        """Bool `[matches]`: decided, or out of time."""
        ...

    @property
    def is_broken_off(self) -> np.ndarray:
        """Bool `[matches]`: over because whatever plays the game was lost; counts as no game."""
        ...

    @property
    def restarts(self) -> int:
        """How often whatever plays the game was lost and started again."""
        ...

    def reset(self, which: np.ndarray) -> None:
        """Begins new games.

        Args:
          which: int `[some]`, indices of matches.
        """
        ...

    def columns(self) -> Mapping[str, np.ndarray]:
        """Columns of the schema `[matches, *field.shape]`: at least those of `rewards.playing`."""
        ...

    def inputs(self, layout: InputLayout) -> tuple[np.ndarray, np.ndarray]:
        """What a network reads of this frame, told of no condition.

        Returns: numbers float32 and ids int32 `[matches, players, …]`, own player first; of this
          frame only.
        """
        ...

    def step(self, controllers: Controllers) -> None:
        """One frame of every match that is not over; what scripts play is not read."""
        ...

    def seat_script(self, name: str, seats: Seats) -> None:
        """Lets a script, or the game's own computer, play some seats from now on.

        Raises: ValueError: if there is none of that name; the message lists those that there are.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides what happens next, by name."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`; of a game that cannot be kept, shows its last frame, over."""
        ...

    def close(self) -> None:
        """Ends whatever plays the game."""
        ...

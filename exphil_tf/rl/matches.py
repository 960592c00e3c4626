"""What rollouts need of a game: many matches at once, whoever steps them.

    matches.reset(np.flatnonzero(matches.is_over))
    columns = matches.observe()          # the schema's columns, players in port order
    matches.step(controllers)            # stored controller bytes of both players

A match that is over stays as it is until it is reset, so that its last frame can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

Controllers = np.ndarray
"""Stored controller bytes uint8 `[matches, 2, ACTION_BYTES]` (`features.controller`)."""
Script = Callable[[], Controllers]
"""What a scripted player does on this frame, in the place of either player; reads the matches."""


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

    def reset(self, which: np.ndarray) -> None:
        """Begins new games.

        Args:
          which: int `[some]`, indices of matches.
        """
        ...

    def observe(self) -> Mapping[str, np.ndarray]:
        """The schema's columns `[matches, *field.shape]` of this frame."""
        ...

    def step(self, controllers: Controllers) -> None:
        """One frame of every match that is not over."""
        ...

    def script(self, name: str) -> Script:
        """A scripted player.

        Raises: ValueError: if there is none of that name; the message lists those that there are.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides what happens next, by name."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        ...

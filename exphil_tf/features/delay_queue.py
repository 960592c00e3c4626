"""Inputs on their way: chosen from a state, due some frames later.

The game takes one frame: an input that is sent after the state of frame f is that of frame f + 1.
With a delay, an input chosen from the state of frame f is that of frame f + 1 + delay, which is how
training aligns states and targets (`exphil_tf.data.unrolls`). So of the inputs chosen so far the
one to be sent now is `delay` frames old, and until there is one the controller stays neutral.

    queue = DelayQueue(delay)
    for state in game:                       # of frame f
        previous = queue.newest              # what the policy reads as its previous action
        send(queue.push(choose(state, previous)))      # is the input of frame f + 1
"""

from __future__ import annotations

import numpy as np

from exphil_tf.features.packing import ACTION_BYTES

GAME_FRAMES = 1
"""Frames that the game itself takes from a state to the first input that can answer it."""


class DelayQueue:
    """The inputs of one player, or of a player in each of many games.

    Inputs are stored controller bytes uint8 `[*lead, ACTION_BYTES]` (`controller.to_bytes`); all
    zeros is the neutral controller.

    Args:
      delay: frames between a state and the input that answers it, beyond the game's own.
      lead: leading axes of an input: none, or `[games]`.

    Raises: ValueError: if the delay is negative.
    """

    def __init__(self, delay: int, lead: tuple[int, ...] = ()):
        if delay < 0:
            raise ValueError(f"delay: want 0 or more frames. Received: delay={delay}")
        self._inputs = np.zeros((delay + 1, *lead, ACTION_BYTES), np.uint8)
        self._last = 0

    @property
    def delay(self) -> int:
        """Frames between a state and the input that answers it, beyond the game's own."""
        return len(self._inputs) - 1

    @property
    def newest(self) -> np.ndarray:
        """The input pushed last, neutral at a game's start: the policy's previous action."""
        return self._inputs[self._last].copy()

    @property
    def pending(self) -> np.ndarray:
        """Inputs still to be sent, uint8 `[delay, *lead, ACTION_BYTES]`, the next one first."""
        return np.roll(self._inputs, -1 - self._last, axis=0)[1:]

    def push(self, chosen: np.ndarray) -> np.ndarray:
        """Takes the input chosen from the state of this frame; returns the one that is due.

        Args:
          chosen: uint8 `[*lead, ACTION_BYTES]`, due `delay` calls from now.

        Raises: ValueError: if it is no such array.
        """
        if chosen.shape != self._inputs.shape[1:] or chosen.dtype != np.uint8:
            raise ValueError(
                f"chosen: want uint8 {list(self._inputs.shape[1:])}. "
                f"Received: {chosen.dtype} {list(chosen.shape)}"
            )
        self._last = (self._last + 1) % len(self._inputs)
        self._inputs[self._last] = chosen
        return self._inputs[(self._last + 1) % len(self._inputs)].copy()

    def reset(self, where: np.ndarray | None = None) -> None:
        """Forgets every input, as a game starts.

        Args:
          where: bool `[*lead]`: which games start; None for all.
        """
        if where is None:
            self._inputs[:] = 0
        else:
            self._inputs[:, where] = 0

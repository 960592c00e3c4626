"""How an agent's answers come to a controller: in step with the game, or beside it.

In step, a frame waits for its answer. Beside it, a thread answers every frame in order, as memory
needs them all, and the game's loop never waits longer than `WAIT_S`: an answer that is not there
yet is replaced by the newest one that is, and after `STALE_FRAMES` by the untouched controller, as
whoever holds on blindly walks off the stage. With a delay that the agent itself keeps, answers are
there frames before they are due, and a stall as long costs nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from exphil_tf.agents.agent import Agent
from exphil_tf.features.packing import ACTION_BYTES

WAIT_S = 0.008
"""Half a frame."""
STALE_FRAMES = 2
NEUTRAL = np.zeros(ACTION_BYTES, np.uint8)


class Driver(Protocol):
    """Answers the frames of one player."""

    stale: int
    """Frames that an older answer was given to."""
    dropped: int
    """Frames that no answer was given to: the controller was let go."""

    def begin(self) -> None:
        """A game begins."""
        ...

    def answer(self, frame: int, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The input of frame `frame + 1`, uint8 `[ACTION_BYTES]`.

        Args:
          frame: number of the frame, counted up by one.
          columns: schema columns `[1, …]`, own player first.
        """
        ...

    def close(self) -> None:
        """Ends what it has started."""
        ...


class InStep:
    """Waits for the agent."""

    def __init__(self, agent: Agent):
        self.stale = self.dropped = 0
        self._agent = agent

    def begin(self) -> None:
        """See `Driver`."""
        self._agent.reset()

    def answer(self, frame: int, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Driver`."""
        del frame
        return self._agent.act(columns).controller[0]

    def close(self) -> None:
        """See `Driver`."""


class _Answer(NamedTuple):
    frame: int
    inputs: np.ndarray
    """uint8 `[known, ACTION_BYTES]`: of the frames behind `frame`, as far as they are known."""


class Beside:
    """Asks the agent in a thread.

    Args:
      agent: which this thread alone uses from now on.
      wait_s: that a frame may wait for its own answer.
    """

    def __init__(self, agent: Agent, *, wait_s: float = WAIT_S):
        self.stale = self.dropped = 0
        self._agent, self._wait_s = agent, wait_s
        self._frames: queue.SimpleQueue[tuple[int, int, Mapping[str, np.ndarray]] | None]
        self._frames = queue.SimpleQueue()
        self._news = threading.Condition()
        self._newest: _Answer | None = None
        self._game = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="agent", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """See `Driver`."""
        with self._news:
            self._game += 1
            self._newest = None

    def answer(self, frame: int, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Driver`. Raises what the agent raised."""
        self._frames.put((self._game, frame, columns))
        deadline = time.monotonic() + self._wait_s
        with self._news:
            while not self._is_known(frame):
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    break
            if self._error is not None:
                raise self._error
            return self._chosen(frame)

    def close(self) -> None:
        """See `Driver`."""
        self._frames.put(None)
        self._thread.join()

    def _is_known(self, frame: int) -> bool:
        newest = self._newest
        return self._error is not None or (
            newest is not None and frame - newest.frame < len(newest.inputs)
        )

    def _chosen(self, frame: int) -> np.ndarray:
        newest = self._newest
        if newest is None:
            self.dropped += 1
            return NEUTRAL
        late = frame - newest.frame - len(newest.inputs) + 1
        if late <= 0:
            return newest.inputs[frame - newest.frame]
        if late > STALE_FRAMES:
            self.dropped += 1
            return NEUTRAL
        self.stale += 1
        return newest.inputs[-1]

    def _work(self) -> None:
        game = 0
        try:
            while (item := self._frames.get()) is not None:
                if item[0] != game:
                    game = item[0]
                    self._agent.reset()
                decision = self._agent.act(item[2])
                known = np.concatenate([decision.controller, self._agent.pending()[:, 0]])
                with self._news:
                    if game == self._game:
                        self._newest = _Answer(item[1], known)
                    self._news.notify_all()
        except BaseException as error:
            with self._news:
                self._error = error
                self._news.notify_all()

"""Game after game of two players in one Dolphin: frames out, controllers in.

    game.launch(), game.connect()
    columns = game.next_game()             # through the menus, to a game's first frame
    columns = game.step(inputs)            # the next frame; None once the game has ended

Whoever plays decides when to go on to the next game; what is left of one is waited for with
untouched controllers, and so is sudden death.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import melee
import numpy as np

from exphil_tf.agents.dolphin import Dolphin, DolphinGone, DolphinOptions
from exphil_tf.agents.libmelee_io import FrameReader, PipeController
from exphil_tf.agents.menu_walk import MenuWalk
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import Character, Stage

PORTS = (1, 2)
"""Of the two players, in their order."""
MOST_STATES = 60 * 60 * 3
"""From a game to the next one, its end and sudden death among them; menus may get stuck."""

_SUDDEN_DEATH = 300


@dataclass
class Player:
    """Who sits at a port."""

    port: int
    character: Character
    cpu_level: int = 0
    """Of Dolphin's computer, 1 to 9; 0 where our inputs play."""


class DolphinGame:
    """Games in a Dolphin of its own, which is started anew as often as it has to be.

    Args:
      options: of Dolphin, which is to wait for its controllers.
      players: at `PORTS`.
      stage: of all games.
    """

    def __init__(self, options: DolphinOptions, players: Sequence[Player], stage: Stage):
        self._options, self._players, self._stage = options, players, stage
        self._dolphin: Dolphin | None = None
        self._reader: FrameReader | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a Dolphin."""
        return self._dolphin is not None

    def launch(self) -> None:
        """Starts Dolphin; see `Dolphin.launch`.

        Raises: UserError: if it is not there (66) or no Dolphin (65).
        """
        self._dolphin = Dolphin(self._options, PORTS)
        self._dolphin.launch()

    def connect(self) -> None:
        """Connects to what was launched. Raises: DolphinGone: as of `Dolphin.connect`."""
        dolphin = self._running
        dolphin.connect()
        self._pipes = [PipeController(dolphin.controllers[port]) for port in PORTS]
        # The first one's pad starts the match: not that of a computer's port.
        choices = sorted(self._players, key=lambda player: player.cpu_level)
        self._menus = MenuWalk(dolphin.controllers, choices, self._stage)

    def next_game(self) -> dict[str, np.ndarray]:
        """Goes on to the next game.

        Returns: the schema's columns `[*field.shape]` of its first frame, players in port order.

        Raises:
          DolphinGone: if it died or hangs, or no game begins.
          UserError: if what begins is no game of two players on a legal stage.
        """
        is_behind = self._reader is None  # whether the last game is
        self._reader = None
        self._let_go()
        for _ in range(MOST_STATES):
            state = self._next_state()
            if not _in_game(state):
                is_behind = True
                with _named_pipe_errors():
                    self._menus.step(state)
            elif is_behind and not _is_sudden_death(state):
                self._let_go()
                self._reader = self._reader_of(state)
                return self._reader.read(state)
            elif is_behind:  # it is no game to learn from
                is_behind = False
                self._let_go()
        raise DolphinGone(f"Dolphin came to no game within {MOST_STATES} frames")

    def step(self, inputs: np.ndarray) -> dict[str, np.ndarray] | None:
        """Holds controllers until the next frame is there.

        Args:
          inputs: uint8 `[players, ACTION_BYTES]`; a computer's are not read.

        Returns: its columns, as of `next_game`; None if the game has ended instead.

        Raises: DolphinGone: if it died or hangs.
        """
        assert self._reader is not None
        with _named_pipe_errors():
            for player, pipe, stored in zip(self._players, self._pipes, inputs, strict=True):
                if not player.cpu_level:
                    pipe.send(stored)
        state = self._next_state()
        if _in_game(state):
            return self._reader.read(state)
        self._reader = None
        return None

    def interrupt(self) -> None:
        """Ends whatever waits for a frame, from any thread."""
        if self._dolphin is not None:
            self._dolphin.interrupt()

    def stop(self) -> None:
        """Ends Dolphin, if there is one."""
        dolphin, self._dolphin, self._reader = self._dolphin, None, None
        if dolphin is not None:
            dolphin.stop()

    @property
    def _running(self) -> Dolphin:
        assert self._dolphin is not None
        return self._dolphin

    def _next_state(self) -> Any:
        """Of a menu, or of a game with all players in it."""
        while True:
            state = self._running.step()
            if not _in_game(state) or len(state.players) >= len(PORTS):
                return state

    def _let_go(self) -> None:
        with _named_pipe_errors():
            for pipe in self._pipes:
                pipe.neutral()

    def _reader_of(self, state: Any) -> FrameReader:
        try:
            return FrameReader.of(self._running.console, state)
        except ValueError as error:
            raise UserError(str(error), "Play one against one on a legal stage.") from error


def _in_game(state: Any) -> bool:
    return state.menu_state is melee.Menu.IN_GAME


def _is_sudden_death(state: Any) -> bool:
    """Whether a first frame is that of the second game after a draw: all begin with 300 percent."""
    return all(player.percent >= _SUDDEN_DEATH for player in state.players.values())


@contextlib.contextmanager
def _named_pipe_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DolphinGone("Dolphin no longer reads its controller pipes") from error

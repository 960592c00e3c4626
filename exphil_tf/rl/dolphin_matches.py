"""Matches in Slippi Dolphin, one emulator each.

Emulators run at the same time: a thread of each waits for its next frame. All are started from the
thread that plays, which they end with. A Dolphin that dies or hangs takes its game with it, and is
started again at the next reset.
"""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from exphil_tf.agents.agent import controller_bytes
from exphil_tf.agents.dolphin import DolphinGone, DolphinOptions
from exphil_tf.agents.dolphin_game import PORTS, DolphinGame, Player
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.rewards.playing import COLUMNS
from exphil_tf.rl.matches import Controllers
from exphil_tf.rl.seats import BothSides, Seats
from exphil_tf.training.ppo_config import CPU
from models.layers.embedding_layout import InputLayout

MOST_IN_A_ROW = 3
"""Times that a Dolphin is started again without a game that has ended in between."""
_COLUMN = "column/"
_log = logging.getLogger(__name__)

Columns = dict[str, np.ndarray]
Found = TypeVar("Found")


class DolphinMatches:
    """`Matches` in Dolphin. Games end by their own rules: four stocks, eight minutes.

    A game that the clock ends shows its last frame twice. Nothing is started until the first frame
    is asked for.

    Args:
      characters: of both players of each match, at ports 1 and 2.
      stages: of each match.
      options: of each Dolphin.
    """

    def __init__(
        self,
        characters: Sequence[tuple[Character, Character]],
        stages: Sequence[Stage],
        *,
        options: DolphinOptions,
    ):
        self.count = len(stages)
        self.restarts = 0
        """How often a Dolphin was started again."""
        self._players = [
            [Player(port, character) for port, character in zip(PORTS, pair, strict=True)]
            for pair in characters
        ]
        self._games = [
            DolphinGame(options, players, stage)
            for players, stage in zip(self._players, stages, strict=True)
        ]
        self._pool = concurrent.futures.ThreadPoolExecutor(self.count, "dolphin")
        self._columns = {name: column.copy() for name, column in SCHEMA.zeros(self.count).items()}
        self._over, self._broken = np.zeros((2, self.count), bool)
        self._in_a_row = np.zeros(self.count, np.int64)
        self._is_begun = False
        self._sides: dict[str, BothSides] = {}

    @property
    def is_over(self) -> np.ndarray:
        """Bool `[matches]`."""
        self._begin()
        return self._over.copy()

    @property
    def is_broken_off(self) -> np.ndarray:
        """Bool `[matches]`: over because its Dolphin was lost."""
        self._begin()
        return self._broken.copy()

    def reset(self, which: np.ndarray) -> None:
        """Goes on to new games; a game that still runs is left by starting its Dolphin again.

        Raises: UserError: if Dolphin is missing, or was lost too often.
        """
        self._is_begun = True
        for match in np.flatnonzero(~self._over[which]):
            self._games[which[match]].stop()
        waiting = [int(match) for match in which]
        while waiting:
            self._start([match for match in waiting if not self._games[match].is_running])
            ready = [match for match in waiting if self._games[match].is_running]
            for match, columns in self._each(lambda m: self._games[m].next_game(), ready).items():
                self._put(match, columns)
                waiting.remove(match)
        self._over[which] = self._broken[which] = False

    def columns(self) -> Mapping[str, np.ndarray]:
        """Columns for rewards and results, float32, of this frame."""
        self._begin()
        return {name: self._columns[name].astype(np.float32) for name in COLUMNS}

    def inputs(self, layout: InputLayout) -> tuple[np.ndarray, np.ndarray]:
        """See `Matches.inputs`."""
        self._begin()
        sides = self._sides.setdefault(str(layout), BothSides(layout))
        return sides.of(self._columns)

    def step(self, controllers: Controllers) -> None:
        """One frame of every match that is not over, all at the same time.

        Raises: UserError: if a Dolphin was lost too often.
        """
        self._begin()
        joined = controllers.reshape(-1, controllers.shape[-1])
        stored = controller_bytes(joined).reshape(*controllers.shape[:2], -1)
        live = np.flatnonzero(~self._over).tolist()
        found = self._each(lambda match: self._games[match].step(stored[match]), live)
        for match in live:
            columns = found.get(match)
            if columns is not None:
                self._put(match, columns)
            self._broken[match] = match not in found
            self._over[match] = columns is None or bool((columns["p.stock"] == 0).any())
        self._in_a_row[self._over & ~self._broken] = 0

    def seat_script(self, name: str, seats: Seats) -> None:
        """Lets Dolphin's computer, cpu1 to cpu9, play some seats from the next game on."""
        found = CPU.fullmatch(name)
        if found is None:
            raise ValueError(f"want cpu1 to cpu9 in Dolphin. Received: {name}")
        for match, player in zip(seats.match, seats.player, strict=True):
            self._players[match][player].cpu_level = int(found[1])

    def state(self) -> dict[str, np.ndarray]:
        """The frame that is seen: a game in Dolphin cannot be kept."""
        kept = {_COLUMN + name: column for name, column in self._columns.items()}
        return {**kept, "restarts": np.array(self.restarts)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Shows the frame that was seen, as the last one of games that were broken off."""
        for name, column in self._columns.items():
            column[...] = state[_COLUMN + name]
        self.restarts = int(state["restarts"])
        self._over[:] = self._broken[:] = True
        self._is_begun = True

    def close(self) -> None:
        """Ends all Dolphins, whatever they are at; does nothing the second time."""
        for game in self._games:
            game.interrupt()
        self._pool.shutdown()
        for game in self._games:
            game.stop()

    def _begin(self) -> None:
        if not self._is_begun:
            self.reset(np.arange(self.count))

    def _put(self, match: int, columns: Columns) -> None:
        for name, column in self._columns.items():
            column[match] = columns[name]

    # -- Dolphins ----------------------------------------------------------------------------------

    def _start(self, which: Iterable[int]) -> None:
        """Starts Dolphins, which boot beside each other; some may be lost at once."""
        for match in (matches := list(which)):
            self._games[match].launch()
        for match in matches:
            try:
                self._games[match].connect()
            except DolphinGone as error:
                self._lost(match, error)

    def _each(self, act: Callable[[int], Found], matches: Sequence[int]) -> dict[int, Found]:
        """What is found of matches at the same time, but for those whose Dolphin is lost by it."""
        futures = {match: self._pool.submit(act, match) for match in matches}
        concurrent.futures.wait(futures.values())
        found: dict[int, Found] = {}
        for match, future in futures.items():
            try:
                found[match] = future.result()
            except DolphinGone as error:
                self._lost(match, error)
        return found

    def _lost(self, match: int, error: DolphinGone) -> None:
        """Ends what is left of a Dolphin. Raises: DolphinGone: if it was so too often."""
        self._games[match].stop()
        self._in_a_row[match] += 1
        if self._in_a_row[match] > MOST_IN_A_ROW:
            raise DolphinGone(
                f"{error.message}; so it was {self._in_a_row[match]} times in a row"
            ) from error
        self.restarts += 1
        _log.warning("match %d: %s; it is started again", match, error.message)

"""Plays games through Dolphin: menus, frames, game ends, records.

One loop for all: it waits for a state, answers it, and the next wait sends the answer. Menus are
walked by `menu_walk`.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import melee
from melee.gamestate import port_detector

from exphil_tf.agents.agent import Agent
from exphil_tf.agents.drivers import Driver
from exphil_tf.agents.game_record import GameRecord, GameTally, Report
from exphil_tf.agents.libmelee_io import FrameReader, PipeController
from exphil_tf.agents.menu_walk import MenuWalk
from exphil_tf.features.viewpoint import take_perspective
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.latency_histogram import LatencyHistogram
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.replays import events

_IN_GAME = (melee.Menu.IN_GAME, melee.Menu.SUDDEN_DEATH)
_REPLAY_FRAMES = 300
"""Frames of menus after a game in which its replay should have been written."""


class Game(Protocol):
    """What gives states: `dolphin.Dolphin`."""

    console: Any
    controllers: dict[int, Any]

    def step(self) -> Any:
        """The next state, after what the controllers hold has been sent."""
        ...


@dataclass
class Seat:
    """A port that we control: an agent's, or a computer's that we choose in the menus."""

    port: int
    character: Character
    name: str
    """Whoever sits there, as records call it."""
    agent: Agent | None = None
    driver: Driver | None = None
    cpu_level: int = 0


@dataclass(frozen=True)
class MatchRules:
    """What is played."""

    stage: Stage
    games: int = 0
    """To play; 0 for no end."""
    opponent: str = "human"
    connect_code: str = ""
    own_code: str = ""
    """Ours, by which a netplay game tells our port."""
    replay_dir: Path | None = None
    mirrors_ports: bool = False
    """The two seats exchange ports after each game (both are ours)."""


class MatchLoop:
    """Plays until the games are played.

    Args:
      game: Dolphin.
      seats: ours, the one that records are about first.
      rules: what is played.
      report: takes the records.
      say: tells the user a line.
    """

    def __init__(
        self,
        game: Game,
        seats: Sequence[Seat],
        rules: MatchRules,
        *,
        report: Report,
        say: Callable[[str], None],
    ):
        self._game, self._seats, self._rules = game, list(seats), rules
        self._report, self._say = report, say
        self._pipes = {p: PipeController(c) for p, c in game.controllers.items()}
        self._menus = MenuWalk(
            game.controllers, self._seats, rules.stage, connect_code=rules.connect_code
        )
        self._live: _Live | None = None
        self._known = set(_replays(rules.replay_dir))
        self._waiting: list[tuple[dict[str, Any], int]] = []
        self._frame_time = LatencyHistogram()
        self.played = 0

    def run(self) -> None:
        """Plays. Raises: DolphinGone: as of `Dolphin.step`."""
        try:
            while not self._is_over:
                self._one(self._game.step())
        finally:
            for index in range(len(self._waiting)):
                self._waiting[index] = (self._waiting[index][0], 0)
            self._record()
            for pipe in self._pipes.values():
                _let_go(pipe)

    @property
    def _is_over(self) -> bool:
        return bool(self._rules.games) and self.played >= self._rules.games and not self._waiting

    def _one(self, state: Any) -> None:
        if state.menu_state in _IN_GAME and len(state.players) >= 2:
            self._frame(state)
        elif state.menu_state not in _IN_GAME:
            if self._live is not None:
                self._finish()
            else:
                self._menus.step(state)
            self._record()

    # -- Frames ------------------------------------------------------------------------------------

    def _frame(self, state: Any) -> None:
        began = time.perf_counter()
        if self._live is None:
            self._begin(state)
        live = self._live
        assert live is not None
        columns = live.reader.read(state)
        number = int(state.frame)
        live.tally.see(columns, missed=max(0, number - live.last - 1))
        live.last = number
        for seat, place in live.places:
            if seat.driver is not None:
                seen = take_perspective(columns, place)
                batch = {name: column[None] for name, column in seen.items()}
                inputs = seat.driver.answer(number, batch)
                self._pipe_of(seat).send(inputs)
        self._frame_time.record(time.perf_counter() - began)

    def _begin(self, state: Any) -> None:
        try:
            reader = FrameReader.of(self._game.console, state)
        except ValueError as error:
            raise UserError(str(error), "Play one against one on a legal stage.") from error
        places = [(seat, self._place(seat, state, reader.ports)) for seat in self._seats]
        for seat in self._seats:
            if seat.driver is not None:
                seat.driver.begin()
        tally = GameTally(own=places[0][1])
        self._live = _Live(reader, tally, places, int(state.frame) - 1)

    def _place(self, seat: Seat, state: Any, ports: tuple[int, ...]) -> int:
        """Index of a seat's player in port order."""
        port = seat.port
        if self._rules.connect_code:  # a netplay game deals the ports
            codes = {int(p): s.connectCode for p, s in state.players.items()}
            port = next((p for p, code in codes.items() if code == self._rules.own_code), 0)
            port = port or port_detector(state, melee.Character(int(seat.character)), 0)
        if port not in ports:
            raise UserError(
                f"--port: want one of the players' ports {list(ports)}. Received: {port}",
                "Check --port and --opponent-port.",
            )
        return ports.index(port)

    def _pipe_of(self, seat: Seat) -> PipeController:
        return self._pipes[seat.port]

    # -- Ends --------------------------------------------------------------------------------------

    def _finish(self) -> None:
        live, us = self._live, self._seats[0]
        assert live is not None and us.agent is not None and us.driver is not None
        self._live = None
        self.played += 1
        for pipe in self._pipes.values():
            pipe.neutral()
        place, ports = live.places[0][1], live.reader.ports
        facts = live.tally.facts(live.reader.stage) | {
            "game": len(self._report.records) + len(self._waiting) + 1,
            "port": ports[place],
            "opponent_port": ports[1 - place],
            "opponent": self._rules.opponent,
            "policy": us.name,
            "stale_frames": us.driver.stale,
            "dropped_frames": us.driver.dropped,
            "latency": us.agent.latency.to_dict(),
            "frame_time": self._frame_time.to_dict(),
        }
        self._waiting.append((facts, _REPLAY_FRAMES))
        if self._rules.mirrors_ports and len(self._seats) == 2:
            one, two = self._seats
            one.port, two.port = two.port, one.port

    def _record(self) -> None:
        """Keeps records whose replay has been written, or that have waited long enough."""
        still: list[tuple[dict[str, Any], int]] = []
        for facts, patience in self._waiting:
            replay = self._new_replay()
            if replay is None and patience > 0:
                still.append((facts, patience - 1))
                continue
            record = GameRecord(**facts, **self._describe(replay))
            self._report.add(record)
            self._say(describe(record))
        self._waiting = still

    def _new_replay(self) -> Path | None:
        new = sorted(set(_replays(self._rules.replay_dir)) - self._known)
        return next((path for path in new if _is_whole(path)), None)

    def _describe(self, replay: Path | None) -> dict[str, Any]:
        if replay is None:
            return {}
        self._known.add(replay)
        return {"replay": replay.name, "replay_sha256": atomic.sha256(replay)}


@dataclass
class _Live:
    """A game in progress."""

    reader: FrameReader
    tally: GameTally
    places: list[tuple[Seat, int]]
    """Seats, and their players' indices in port order."""
    last: int
    """Number of the last frame."""


def _let_go(pipe: PipeController) -> None:
    try:
        pipe.neutral()
    except (OSError, RuntimeError):
        return  # nobody is there to be told


def _replays(folder: Path | None) -> list[Path]:
    return [] if folder is None else list(folder.rglob("*.slp"))


def _is_whole(path: Path) -> bool:
    """Whether Dolphin has closed a replay: until then the length in front is 0."""
    try:
        with path.open("rb") as file:
            head = file.read(events.RAW_START)
    except OSError:
        return False
    return len(head) == events.RAW_START and any(head[len(events.MAGIC) :])


def describe(record: GameRecord) -> str:
    """A record in a line."""
    result = {True: "won", False: "lost", None: "undecided"}[record.won]
    return (
        f"game {record.game}: {result} {record.stocks}-{record.opponent_stocks} as "
        f"{record.character} against {record.opponent} ({record.opponent_character}) on "
        f"{record.stage}, {record.frames} frames, {record.damage_dealt:.0f} % dealt, "
        f"{record.damage_taken:.0f} % taken"
    )

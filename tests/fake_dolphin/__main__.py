"""The program that libmelee launches: `PLAN --version`, or `PLAN -e ISO -u USER …`."""

from __future__ import annotations

import argparse
import base64
import configparser
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import enet

from exphil_tf.melee.types import TIME_LIMIT_FRAMES
from fake_dolphin.matches import ReplayMatch
from fake_dolphin.menus import Match, Menus
from fake_dolphin.pads import Pipes

if TYPE_CHECKING:
    from fake_dolphin.sim_match import SimMatch

_VERSION = "Slippi Dolphin mainline 4.0.0 (fake)"
_NO_INPUT = 66


class Server:
    """The spectator protocol to one client."""

    def __init__(self, port: int):
        self._host = enet.Host(enet.Address(b"127.0.0.1", port), 4, 2, 0, 0)
        self._peer: Any = None
        self._cursor = 0

    def accept(self) -> None:
        """Waits for a client and its request."""
        while True:
            event = self._host.service(50)
            if event.type == enet.EVENT_TYPE_RECEIVE:
                self._peer = event.peer
                assert json.loads(event.packet.data)["type"] == "connect_request"
                reply = {"nick": "Slippi Online", "version": "3.18.0", "cursor": 0}
                self._send({"type": "connect_reply", **reply})
                return

    def serve(self) -> None:
        """Lets acknowledgements through."""
        while self._host.service(0).type != enet.EVENT_TYPE_NONE:
            pass

    def game_event(self, payload: bytes) -> None:
        """Events of a game."""
        self._cursor += 1
        cursors = {"cursor": self._cursor - 1, "next_cursor": self._cursor}
        self._send({"type": "game_event", "payload": _b64(payload), **cursors})

    def menu_event(self, payload: bytes) -> None:
        """One menu event."""
        self._send({"type": "menu_event", "payload": _b64(payload)})

    def mark(self, kind: str) -> None:
        """`start_game` or `end_game`."""
        self._send({"type": kind, "cursor": self._cursor, "next_cursor": self._cursor})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self._peer.send(0, enet.Packet(data, enet.PACKET_FLAG_RELIABLE))
        self._host.flush()


class Dolphin:
    """Menus, matches, pipes and the client, a frame at a time."""

    def __init__(self, plan: dict[str, Any], user: Path):
        ini = configparser.ConfigParser()
        ini.read(user / "Config" / "Dolphin.ini")
        slippi = ini["Slippi"]
        self._is_blocking = slippi.getboolean("BlockingPipes")
        self._speed = ini["Core"].getfloat("EmulationSpeed", 1.0)
        replays = slippi.get("ReplayDir", str(user / "Slippi"))
        self._replays = Path(replays) if slippi.getboolean("SaveReplays", True) else None
        self._plan = plan
        self._pipes = Pipes(user / "Pipes")
        self._server = Server(slippi.getint("SpectatorLocalPort"))
        human = plan.get("human_ports", ())
        self._menus = Menus(list(self._pipes.pads), human)
        self._games, self._due = 0, time.monotonic()

    def run(self) -> None:
        """Serves for ever."""
        self._server.accept()
        if self._is_blocking:
            self._pipes.wait(self._server.serve)  # of the first step, before any event
        self._due = time.monotonic()
        while True:
            self._pipes.arm()
            self._server.menu_event(self._menus.event())
            self._end_frame()
            match = self._menus.step(self._pipes.pads)
            if match is not None:
                self._play(match)
                self._menus.back()

    def _end_frame(self) -> None:
        """Until the next frame is due: a FLUSH in blocking mode, a sixtieth of a second else."""
        if self._is_blocking:
            self._pipes.wait(self._server.serve)
        if not self._is_blocking or self._speed > 0:
            self._due = max(self._due + 1 / (60 * (self._speed or 1.0)), time.monotonic() - 0.1)
            while (left := self._due - time.monotonic()) > 0:
                self._server.serve()
                time.sleep(min(left, 0.002))
        self._server.serve()
        self._pipes.drain()

    def _play(self, match: Match) -> None:
        game = self._game(match)
        self._server.mark("start_game")
        self._pipes.arm()
        self._server.game_event(game.opening)
        self._end_frame()
        for index in range(len(game)):
            self._fault(index)
            frame = game.frame(index, self._pipes.pads)
            self._pipes.arm()
            self._server.game_event(frame)
            self._end_frame()
            if game.is_over:
                break
        self._server.game_event(game.end())
        self._save(game.file())
        self._server.mark("end_game")
        self._games += 1

    def _game(self, match: Match) -> ReplayMatch | SimMatch:
        ports, frames = sorted(match.characters), self._plan.get("frames")
        if "replay" not in self._plan:
            from fake_dolphin.sim_match import SimMatch

            return SimMatch(match, ports, frames or TIME_LIMIT_FRAMES)
        kept = None if self._plan.get("keeps") else match
        return ReplayMatch(Path(self._plan["replay"]), kept, ports, frames)

    def _fault(self, index: int) -> None:
        fault = self._plan.get("fault") or {}
        if (fault.get("game", 0), fault.get("frame")) != (self._games, index):
            return
        if fault["kind"] == "exit":
            os._exit(3)
        if fault["kind"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["kind"] == "freeze":
            while True:  # the connection stays up
                self._server.serve()
                time.sleep(0.01)
        self._pipes.close()

    def _save(self, data: bytes) -> None:
        if self._replays is None:
            return
        self._replays.mkdir(parents=True, exist_ok=True)
        name = f"Game_{time.strftime('%Y%m%dT%H%M%S')}_{os.getpid()}_{self._games}.slp"
        (self._replays / name).write_bytes(data)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> int:
    """Runs the program."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    if "--version" in sys.argv:
        print(_VERSION)
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("-e", dest="iso")
    parser.add_argument("-u", dest="user", type=Path)
    parser.add_argument("--platform")
    given = parser.parse_args(sys.argv[2:])
    if given.iso is not None and not Path(given.iso).is_file():
        return _NO_INPUT
    signal.alarm(int(plan.get("lifetime_s", 120)))
    if "replay" not in plan:
        from fake_dolphin.sim_match import compile_simulator

        compile_simulator()  # a connection would not wait for it
    Dolphin(plan, given.user).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

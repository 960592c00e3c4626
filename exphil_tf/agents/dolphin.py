"""Dolphin as a child: launched in a folder of its own, connected to, watched, and taken away.

Its configuration lies in a temporary folder that libmelee fills; the user's own is not read, but
for the account (`user.json`) that a netplay game needs, which is copied. Dolphin ends with this
process, however that ends (Linux: `setpriv`).
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import melee
from melee.console import get_exe_path
from melee.slippstream import EnetDisconnected, SlippstreamClient

from exphil_tf.agents.watchdog import Watchdog
from exphil_tf.foundation.errors import UserError
from exphil_tf.process import signals
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_IO, EXIT_NO_INPUT
from exphil_tf.replays.libmelee_state import SlippiConsole

_CONNECT_S = 60.0
"""That Dolphin may take from its start to the first answer."""
_LOOK_S = 0.05


class DolphinGone(UserError):
    """Dolphin died, hangs or reads its pipes no more; whoever plays may start it again."""

    def __init__(self, reason: str):
        advice = "Look at what it printed above, and check the set-up: play --doctor."
        super().__init__(reason, advice, exit_code=EXIT_IO)


@dataclass(frozen=True)
class DolphinOptions:
    """How Dolphin is started."""

    path: Path
    """The executable, or the folder that Slippi Launcher put it in."""
    iso: Path | None
    replay_dir: Path | None
    """Where replays are saved; None keeps none."""
    is_blocking: bool = True
    """Every frame waits for the controllers; without it Dolphin keeps its pace."""
    speed: float = 1.0
    """0 as fast as it can."""
    is_headless: bool = False
    """No window, no sound (mainline builds)."""
    is_fast_forward: bool = False
    """A build for training (ExiAI) that leaves rendering out."""
    online_delay: int = 0
    user_json: Path | None = None
    hang_timeout_s: float = 20.0


class Dolphin:
    """A running Dolphin with controllers in it; a context manager.

    Args:
      options: see `DolphinOptions`.
      ports: of the controllers, 1 to 4.

    Raises: UserError: if it is not there (66) or no Dolphin (65).
    """

    def __init__(self, options: DolphinOptions, ports: Sequence[int]):
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="play-"))
        self._port = _own_port()
        try:
            if options.replay_dir is not None:
                options.replay_dir.mkdir(parents=True, exist_ok=True)
            self.console = _console(options, self._wrapper(), self._port)
            self.controllers = {port: melee.Controller(self.console, port) for port in ports}
        except BaseException:
            self._leave()
            raise
        self._watchdog = Watchdog(
            self._exit_code, self.console.interrupt, patience_s=options.hang_timeout_s
        )

    def __enter__(self) -> Dolphin:
        try:
            self.launch()
            self.connect()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Starts the program, which boots beside; `connect` waits for it.

        It ends with the thread that this is called from, if not before: let that be the one that
        lives longest.

        Raises: UserError: if it is to have no window and is no build that could.
        """
        platform = "headless" if self._options.is_headless else None
        iso = None if self._options.iso is None else str(self._options.iso)
        try:
            self.console.run(iso_path=iso, platform=platform)
        except ValueError as error:
            raise UserError(
                f"--headless: {self._options.path}: want a mainline build of Dolphin. "
                "Received: another",
                "Leave --headless out, or give --no-headless where it is the default.",
            ) from error

    def connect(self) -> None:
        """Connects to what was launched, and plugs the controllers in; one Dolphin at a time.

        Raises: DolphinGone: if it ended, or does not answer.
        """
        deadline = time.monotonic() + _CONNECT_S
        while not self._connects():
            self._check(deadline)
            address, port = self.console.slippi_address, self.console.slippi_port
            self.console._slippstream = SlippstreamClient(address, port)
        for controller in self.controllers.values():
            self._plug_in(controller, deadline)
        self._watchdog.start()

    def step(self) -> Any:
        """Sends the controllers and waits for the next `melee.GameState`, of a game or a menu.

        Raises: DolphinGone: if it died, hangs or reads no more.
        """
        self._watchdog.beat()
        try:
            return self.console.step()
        except (EnetDisconnected, BrokenPipeError) as error:
            raise DolphinGone(self._why(error)) from error
        finally:
            self._watchdog.rest()

    def stop(self) -> None:
        """Lets go of the controllers and ends Dolphin; does nothing the second time."""
        self._watchdog.stop()
        for controller in self.controllers.values():
            with contextlib.suppress(OSError, RuntimeError, AttributeError):
                controller.release_all()
                controller.flush()
            with contextlib.suppress(OSError):
                controller.disconnect()
        self.console.controllers.clear()
        self._end()
        self._leave()

    def interrupt(self) -> None:
        """Ends a `step` that waits, from any thread; the Dolphin is of no more use."""
        self.console.interrupt()

    def _leave(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        _PORTS.discard(self._port)

    def _end(self) -> None:
        stream: Any = self.console._slippstream
        if stream._worker is not None and stream._worker.pid is None:
            stream._worker = None  # never started: there is nothing to be joined
        self.console.stop()

    def _wrapper(self) -> Path:
        """The executable, wrapped so that it ends with this process."""
        path = executable(self._options.path)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return path
        wrapper = self._folder / "dolphin"
        command = shlex.join([setpriv, "--pdeathsig", "KILL", "--", str(path)])
        # Ctrl-C in a terminal reaches all of its processes; ours says when a Dolphin ends.
        wrapper.write_text(f"#!/bin/sh\ntrap '' INT\nexec {command} \"$@\"\n")
        wrapper.chmod(0o755)
        return wrapper

    def _connects(self) -> bool:
        """Connects by libmelee's child; a signal to all of a terminal's processes is ours alone."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
        try:
            return self.console.connect()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _plug_in(self, controller: Any, deadline: float) -> None:
        """Connects a controller; libmelee's own way would wait for ever for a reader."""
        while True:
            try:
                held = os.open(controller.pipe_path, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:
                self._check(deadline)
                time.sleep(_LOOK_S)
        controller.connect()
        os.close(held)

    def _check(self, deadline: float) -> None:
        code = self._exit_code()
        if code is not None:
            raise DolphinGone(f"Dolphin ended while it started (exit code {code})")
        if time.monotonic() > deadline:
            raise DolphinGone(f"Dolphin did not answer within {_CONNECT_S:g} s of its start")

    def _exit_code(self) -> int | None:
        process = self.console._process
        return None if process is None else process.poll()

    def _why(self, error: BaseException) -> str:
        if self._watchdog.reason:
            return self._watchdog.reason
        if (code := self._exit_code()) is not None:
            return f"Dolphin ended by itself (exit code {code})"
        if isinstance(error, BrokenPipeError):
            return "Dolphin no longer reads its controller pipes"
        return "Dolphin closed the connection"


def executable(path: Path) -> Path:
    """The executable at a path, or in the folder that it is.

    Raises: UserError: if there is none (66).
    """
    try:
        return Path(get_exe_path(str(path))).resolve()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--dolphin: {path}: want Slippi Dolphin's executable, or its folder (its name holds "
            "netplay). Received: neither",
            "Slippi Launcher keeps it in its own folder; see docs/play.md.",
            exit_code=EXIT_NO_INPUT,
        ) from error


def _console(options: DolphinOptions, program: Path, port: int) -> SlippiConsole:
    """Raises UserError: if the program does not answer as Dolphin does."""
    quiet = options.is_headless or options.is_fast_forward
    try:
        return SlippiConsole(
            path=str(program),
            slippi_port=port,
            online_delay=options.online_delay,
            blocking_input=options.is_blocking,
            emulation_speed=options.speed,
            gfx_backend="Null" if quiet else None,
            disable_audio=quiet,
            fullscreen=False,
            save_replays=options.replay_dir is not None,
            replay_dir=None if options.replay_dir is None else str(options.replay_dir.resolve()),
            replay_monthly_folders=False,
            user_json_path=None if options.user_json is None else str(options.user_json),
            use_exi_inputs=options.is_fast_forward,
            enable_ffw=options.is_fast_forward,
        )
    except (OSError, ValueError, RuntimeError, AssertionError, IndexError) as error:
        raise UserError(
            f"--dolphin: {options.path}: does not start as Slippi Dolphin ({error!s:.160})",
            "Check it with play --doctor.",
            exit_code=EXIT_DATA,
        ) from error


_PORTS: set[int] = set()
"""Of this process's Dolphins: one that still boots does not listen yet."""


def _own_port() -> int:
    """A port for a new Dolphin, as long as it is in `_PORTS`."""
    while (port := free_port()) in _PORTS:
        pass
    _PORTS.add(port)
    return port


def free_port() -> int:
    """A UDP port of this machine that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]

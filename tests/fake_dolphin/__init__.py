"""A Dolphin for tests: what libmelee launches, connects to and plays in, without a game.

`make_executable` writes a program that answers `--version` as mainline Slippi does, reads the
configuration that libmelee writes, serves the spectator protocol over ENet, reads the controller
pipes, walks through the menus under the pads' control, and plays: either a replay goes by, in
which the controllers of the piped ports are what came through the pipes, or the pads play in the
simulator (`exphil_tf.sim`). It writes a `.slp` after each game.

What is modelled is the protocol and its timing: one packet a frame, `BlockingPipes` (a frame waits
for a FLUSH of every pipe), the pads' way from pipe values to what the game reads. What is invented:
cursor speeds, the length of loading screens, that all pipes are waited for.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
PLAN = "plan.json"


def make_executable(folder: Path, **plan: Any) -> Path:
    """Writes the program into a folder.

    Args:
      folder: to be filled.
      plan: `replay` (path; what goes by; none plays in the simulator), `frames` (of each game),
        `keeps` (characters and stage are the replay's, whatever the menus say), `human_ports`
        (ports at which somebody sits who has already chosen), `fault` (`kind` freeze, exit, kill
        or close_pipes, `game`, `frame`), `lifetime_s` (after which it ends by itself).
    """
    if "replay" not in plan:
        from fake_dolphin.sim_match import compile_simulator

        compile_simulator()  # fills the cache; whoever waits for a Dolphin waits a minute at most
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(json.dumps({k: _plain(v) for k, v in plan.items()}))
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    program = folder / "fake-dolphin"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{path}" OMP_NUM_THREADS=1 '
        f'exec "{sys.executable}" -m fake_dolphin "{folder / PLAN}" "$@"\n'
    )
    program.chmod(0o755)
    return program


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value

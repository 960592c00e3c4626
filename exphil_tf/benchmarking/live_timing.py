"""How long play's own part of a frame takes: libmelee's game state in, pipe commands out.

What `frame_timing` times of a step is the agent's core; around it live play reads the state,
queues what is delayed, and writes what changes for the pipe. All of that is timed here, on a game
that libmelee reads from a file as it would read it from Dolphin, for one player and one game.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import melee
import numpy as np

from exphil_tf.agents.agent import Agent
from exphil_tf.agents.libmelee_io import FrameReader, PipeController
from exphil_tf.agents.named_agents import make_agent
from exphil_tf.agents.policy_source import of_bundle
from exphil_tf.features.viewpoint import take_perspective
from exphil_tf.inference.bundle import Bundle
from exphil_tf.melee.types import Game
from exphil_tf.replays.libmelee_state import SlippiConsole
from exphil_tf.replays.writer import write_slp

PARTS = ("read", "agent", "send")
_WARM_FRAMES = 50


@dataclass(frozen=True)
class LiveTiming:
    """Microseconds of frames."""

    frames: int
    p50: float
    p99: float
    max: float
    cpu_p50: float
    """Of processor time, which leaves out the time that other processes took."""
    cpu_p99: float
    parts: Mapping[str, float]
    """Median processor time of each of `PARTS`."""


class _Recorded(NamedTuple):
    """What libmelee gives of a game."""

    console: Any
    states: list[Any]


class _NullConsole:
    """What `melee.Controller` asks of a console; its pipe leads nowhere."""

    is_dolphin, logger = True, None

    def __init__(self) -> None:
        self.controllers: list[Any] = []

    def get_dolphin_pipes_path(self, port: int) -> str:
        """Where a port's commands go."""
        del port
        return os.devnull

    def setup_dolphin_controller(self, port: int, kind: Any) -> None:
        """Nothing is to be set up."""


def measure(
    bundles: Mapping[str, Bundle],
    game: Game,
    *,
    num_frames: int,
    pause: Callable[[], None] | None = None,
) -> dict[str, LiveTiming]:
    """Times all forms, one after another.

    Args:
      bundles: form → its opened bundle; one with a fixed batch other than 1 is left out.
      game: that is played over and over.
      num_frames: of each form.
      pause: comes before each frame and is not timed.
    """
    recorded = _recorded(game)
    return {
        form: _timed(make_agent(of_bundle(bundle)), recorded, num_frames, pause=pause)
        for form, bundle in bundles.items()
        if bundle.config.batch_size in (None, 1)
    }


def _recorded(game: Game) -> _Recorded:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "game.slp"
        write_slp(game, path)
        console = SlippiConsole(path=str(path), is_dolphin=False)
        console.connect()
        states: list[Any] = []
        while (state := console.step()) is not None:
            states.append(state)
    return _Recorded(console, states)


def _timed(
    agent: Agent, recorded: _Recorded, num_frames: int, *, pause: Callable[[], None] | None
) -> LiveTiming:
    console, states = recorded
    controller = melee.Controller(_NullConsole(), 1)  # pyright: ignore[reportArgumentType]
    controller.connect()
    pipe, cpu = PipeController(controller), time.thread_time_ns
    wall, used = np.empty(num_frames), np.empty((num_frames, len(PARTS)))
    agent.warm_up(_WARM_FRAMES)
    reader = FrameReader.of(console, states[0])
    for frame in range(num_frames):
        if frame % len(states) == 0:
            reader = FrameReader.of(console, states[0])
            agent.reset()
        if pause is not None:
            pause()
        began, marks = time.perf_counter_ns(), [cpu()]
        columns = take_perspective(reader.read(states[frame % len(states)]), 0)
        marks.append(cpu())
        decision = agent.act({name: column[None] for name, column in columns.items()})
        marks.append(cpu())
        pipe.send(decision.controller[0])
        marks.append(cpu())
        wall[frame] = time.perf_counter_ns() - began
        used[frame] = np.diff(marks)
    controller.disconnect()
    return _figures(wall / 1e3, used / 1e3)


def _figures(wall: np.ndarray, used: np.ndarray) -> LiveTiming:
    """Figures of µs a frame, float64 `[frames]`, and of processor time `[frames, parts]`."""
    total = used.sum(1)
    return LiveTiming(
        frames=len(wall),
        p50=float(np.median(wall)),
        p99=float(np.percentile(wall, 99)),
        max=float(wall.max()),
        cpu_p50=float(np.median(total)),
        cpu_p99=float(np.percentile(total, 99)),
        parts=dict(zip(PARTS, np.median(used, 0).tolist(), strict=True)),
    )

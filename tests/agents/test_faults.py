"""What goes wrong in play is said plainly; controllers are let go, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_dolphin import make_executable

from exphil_tf.agents.agent import Agent
from exphil_tf.agents.dolphin import DolphinGone
from exphil_tf.agents.drivers import Beside, InStep
from exphil_tf.agents.match_loop import Seat
from exphil_tf.features.packing import action_order, pack
from exphil_tf.melee.enums import Character
from exphil_tf.replays.parse import parse
from tests.agents.played import Random, play, rules, seat
from tests.agents.test_agent import Counting

MESSAGES = {
    "exit": "Dolphin ended by itself (exit code 3)",
    "kill": "Dolphin ended by itself (exit code -9)",
    "freeze": "Dolphin gave no frame for 1 s",
    "close_pipes": "Dolphin no longer reads its controller pipes",
}


def descendants(pid: int) -> set[int]:
    """Processes that descend from one."""
    found: set[int] = set()
    for child, parent, _ in processes():
        if parent == pid:
            found |= {child} | descendants(child)
    return found


def processes() -> Iterator[tuple[int, int, int]]:
    """Process, parent and session of each that is alive."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if state != "Z":
            yield int(path.parent.name), int(parent), int(session)


def test_a_dead_dolphin_is_told_and_leaves_nothing_behind(fake):
    before = descendants(os.getpid())
    options = fake(frames=40, fault={"kind": "exit", "frame": 20}, hang_timeout_s=1.0)
    with pytest.raises(DolphinGone) as error:
        play(options, [seat(Random())], rules(options, games=1))
    assert MESSAGES["exit"] in error.value.message and error.value.exit_code == 74
    assert descendants(os.getpid()) <= before


# -- The command -----------------------------------------------------------------------------------


@pytest.fixture
def command(
    tmp_path: Path, iso: Path, exported: Path, real_replay: Callable[[str], Path]
) -> Callable[..., tuple[int, str]]:
    """Plays in a session of its own; its exit code and all that it said."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def run(*flags: str, **plan) -> tuple[int, str]:
        program = make_executable(
            tmp_path / "fake", replay=real_replay("items"), human_ports=[2], **plan
        )
        words = ["--policy", exported, "--dolphin", program, "--iso", iso, "--speed", "0"]
        words += ["--report", tmp_path / "report", "--replay-dir", tmp_path / "replays", *flags]
        process = subprocess.Popen(
            [sys.executable, "-m", "exphil_tf.play", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary)},
            start_new_session=True,
        )
        said, _ = process.communicate(timeout=120)
        left = [pid for pid, _, session in processes() if session == process.pid]
        files = {path.name for path in temporary.iterdir()}
        assert not left and files <= {".ses"}, "ONNX Runtime's own"
        return process.returncode, said

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MESSAGES))
@pytest.mark.parametrize("way", [(), ("--async",)])
def test_the_command_says_what_happened_to_dolphin(command, kind, way):
    fault = {"kind": kind, "frame": 20}
    code, said = command("--hang-timeout", "1", *way, frames=40, fault=fault)
    assert (code, MESSAGES[kind] in said) == (74, True), said
    assert "play --doctor" in said and "Traceback" not in said


@pytest.mark.slow
def test_dolphin_is_started_again_and_the_other_games_are_played(command, tmp_path):
    fault = {"kind": "kill", "game": 1, "frame": 20}
    code, said = command("--restarts", "1", "--games", "2", frames=40, fault=fault)
    assert code == 0 and "starting it again (0 times left)" in said, said
    assert len((tmp_path / "report/games.jsonl").read_text().splitlines()) == 2


# -- Stalls ----------------------------------------------------------------------------------------


PACE = 0.25
"""Of the game's, as a loaded machine is late for some frames of 60 a second."""


class Stalling(Counting):
    """Takes 100 ms of the game's time, six frames, on each tenth frame."""

    def step(self, columns, **others):
        if self.frames[0] and self.frames[0] % 10 == 0:
            time.sleep(0.1 / PACE)
        return super().step(columns, **others)


def held_by(options, record) -> np.ndarray:
    """The stick of each frame of a replay, in steps."""
    rows = pack(parse(options.replay_dir / record.replay).frames)
    return np.abs(rows[:, action_order(0)].view(np.int8)).max(1).astype(int)


@pytest.mark.slow
def test_stalls_let_go_of_the_controller_and_memory_misses_nothing(fake):
    """An answer is held for 2 frames beyond its own at most; then comes the untouched one."""
    options = dataclasses.replace(fake(frames=50, is_blocking=False), speed=PACE)
    stepper = Stalling()
    agent = Agent(stepper)
    driver = Beside(agent)
    record = play(options, [Seat(1, Character.FOX, "x", agent, driver)], rules(options, games=1))
    driver.close()
    record = record[0][0]
    held = held_by(options, record)
    runs = np.diff(np.flatnonzero(np.diff(held, prepend=-1, append=-1)))
    values = held[np.flatnonzero(np.diff(held, prepend=-1))]
    assert record.missed_frames == 0 and record.dropped_frames >= 4 and record.stale_frames >= 4
    # One more where the machine itself was late to send.
    assert runs[values > 0].max() <= 4 and (held[5:] == 0).sum() >= 4
    assert stepper.frames == [50], "every frame was read, in order"


@pytest.mark.slow
def test_in_step_the_game_waits_for_a_stall(fake):
    options, agent = fake(frames=30), Agent(Stalling())
    seats = [Seat(1, Character.FOX, "x", agent, InStep(agent))]
    record = play(options, seats, rules(options, games=1))[0][0]
    assert held_by(options, record).tolist() == [0, *range(30, 59)]

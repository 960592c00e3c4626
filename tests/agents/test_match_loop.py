"""Games in the fake Dolphin: launched by libmelee, through its menus, frame by frame."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from exphil_tf.agents.agent import Agent, AgentOptions
from exphil_tf.agents.dolphin import Dolphin, DolphinGone
from exphil_tf.agents.drivers import NEUTRAL, Beside, InStep
from exphil_tf.agents.game_record import Report
from exphil_tf.agents.match_loop import MatchLoop, MatchRules, Seat
from exphil_tf.features.controller import ControllerCodec, to_bytes
from exphil_tf.features.packing import action_order, pack, unpack
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.replays.parse import parse
from tests.agents.test_agent import Counting

CODEC = ControllerCodec(within_reach=True)
FRAMES = 50


class Random:
    """Draws inputs, and keeps what it was shown and what it said."""

    def __init__(self):
        self.stale = self.dropped = 0
        self.rng = np.random.default_rng(2)
        self.games: list[tuple[list, list]] = []

    def begin(self):
        self.games.append(([], []))

    def answer(self, frame, columns):
        axes = {name: self.rng.integers(0, 17) for name in ("main_x", "main_y", "c_x", "c_y")}
        buckets = {"buttons": self.rng.integers(0, 2, 8), **axes, "shoulder": 0}
        stored = to_bytes(CODEC.decode(buckets))
        seen, said = self.games[-1]
        seen.append({name: column[0].copy() for name, column in columns.items()})
        said.append(stored)
        return stored

    def close(self):
        pass


def play(options, seats, rules, *, report=None):
    report = report or Report(None)
    lines = []
    with Dolphin(options, [seat.port for seat in seats]) as dolphin:
        loop = MatchLoop(dolphin, seats, rules, report=report, say=lines.append)
        loop.run()
    return report.records, lines


def rules(options, **others) -> MatchRules:
    return MatchRules(Stage.BATTLEFIELD, replay_dir=options.replay_dir, **others)


def seat(driver, port=1, character=Character.MEWTWO, **others) -> Seat:
    return Seat(port, character, "bundle", Agent(Counting()), driver, **others)


def test_three_games_are_what_their_replays_hold(fake, tmp_path):
    """Inputs of frame N are in frame N + 1, and the file re-reads to what was seen."""
    options, driver = fake(frames=FRAMES), Random()
    records, lines = play(
        options, [seat(driver)], rules(options, games=3), report=Report(tmp_path / "report")
    )
    assert len(records) == len(lines) == len(driver.games) == 3
    for record, (seen, said) in zip(records, driver.games, strict=True):
        path = options.replay_dir / record.replay
        assert record.replay_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        facts = record.character, record.opponent_character, record.stage, record.frames
        assert facts == ("mewtwo", "fox", "battlefield", FRAMES) and record.missed_frames == 0
        rows = pack(parse(path, version="first").frames)
        own = rows[:, action_order(0)]
        # A clicked trigger reads as a full one, Z as a third.
        analog, shoulder = own[1:].copy(), CODEC_SHOULDER
        wanted = np.array(said[:-1])
        np.testing.assert_array_equal(
            np.delete(analog, shoulder, 1), np.delete(wanted, shoulder, 1)
        )
        written = unpack(rows)
        for name in written:
            live = np.stack([columns[name] for columns in seen])
            np.testing.assert_array_equal(live, written[name], err_msg=name)
    assert [r.game for r in Report(tmp_path / "report").records] == [1, 2, 3]


CODEC_SHOULDER = int(
    np.flatnonzero(
        to_bytes(
            {
                "buttons": np.zeros(8),
                **dict.fromkeys(("main_x", "main_y", "c_x", "c_y"), np.float32(0)),
                "shoulder": np.float32(1),
            }
        )
    )[0]
)


@pytest.mark.slow
def test_a_closed_loop_in_the_simulator(fake):
    """Pads move who is seen; the file re-reads to what was seen; hits are counted."""
    options, driver = fake(replay=None, frames=900), Random()
    seats = [seat(driver, character=Character.FOX)]
    record = play(options, seats, rules(options, games=1))[0][0]
    seen = driver.games[0][0]
    written = unpack(pack(parse(options.replay_dir / record.replay).frames))
    for name in written:
        live = np.stack([columns[name] for columns in seen])
        np.testing.assert_array_equal(live, written[name], err_msg=name)
    assert record.frames == len(seen) and record.damage_taken > 0
    assert np.ptp([columns["p.x"][0] for columns in seen]) > 20


@pytest.mark.slow
def test_a_second_policy_exchanges_ports_after_each_game(fake):
    options, one, two = fake(frames=5, human_ports=[]), Random(), Random()
    seats = [seat(one), seat(two, 2, Character.MARTH)]
    records, _ = play(options, seats, rules(options, games=3, mirrors_ports=True))
    assert [(r.port, r.opponent_port) for r in records] == [(1, 2), (2, 1), (1, 2)]
    for record, first, second in zip(records, one.games, two.games, strict=True):
        assert (record.character, record.opponent_character) == ("mewtwo", "marth")
        own = [int(columns["p.character"][0]) for seen, _ in (first, second) for columns in seen]
        assert own == [Character.MEWTWO] * 5 + [Character.MARTH] * 5


def test_a_computer_is_chosen_as_opponent(fake):
    options = fake(frames=5, human_ports=[])
    seats = [seat(Random()), Seat(2, Character.MARTH, "cpu9", cpu_level=9)]
    records, _ = play(options, seats, rules(options, games=1, opponent="cpu9"))
    assert [(r.opponent, r.opponent_character) for r in records] == [("cpu9", "marth")]
    described = parse(options.replay_dir / records[0].replay).info.players[1]
    assert (described.is_cpu, described.cpu_level) == (True, 9)


@pytest.mark.slow
def test_beside_the_game_frames_are_answered_in_time_and_never_missed(fake):
    """At the game's own pace, with a policy whose answers can be foretold."""
    options = fake(frames=60, is_blocking=False)
    agent = Agent(Counting(), AgentOptions(delay=2))
    driver = Beside(agent)
    records, _ = play(
        options, [Seat(1, Character.FOX, "x", agent, driver)], rules(options, games=1)
    )
    driver.close()
    assert records[0].missed_frames == 0 and records[0].frames == 60
    held = pack(parse(options.replay_dir / records[0].replay).frames)[:, action_order(0)]
    steps = np.abs(held.view(np.int8)).max(1)
    # On a loaded machine inputs come late, but always in order.
    assert steps[0] == 0 and steps[-1] > 30 and (np.diff(steps.astype(int)) >= 0).all()


# -- Drivers ---------------------------------------------------------------------------------------


class Slow(Counting):
    """Takes longer on one frame."""

    def step(self, columns, **others):
        if self.frames[0] == 3:
            time.sleep(0.3)
        return super().step(columns, **others)


def test_a_stall_holds_two_frames_and_then_lets_go_and_memory_misses_nothing():
    stepper = Slow()
    driver = Beside(Agent(stepper), wait_s=0.02)
    driver.begin()
    columns = Counting().columns or {}
    answers = [driver.answer(frame, columns) for frame in range(8)]
    time.sleep(0.4)
    answers.append(driver.answer(8, columns))
    driver.close()
    steps = [int(np.abs(a.view(np.int8)).max()) for a in answers]
    assert steps == [30, 31, 32, 32, 32, 0, 0, 0, 38]
    assert (driver.stale, driver.dropped) == (2, 3)
    assert stepper.frames == [9], "every frame was read, in order"
    assert not answers[5].any() and answers[5] is NEUTRAL


def test_a_stall_shorter_than_the_delay_costs_nothing():
    driver = Beside(Agent(Slow(), AgentOptions(delay=4)), wait_s=0.02)
    driver.begin()
    steps = [int(np.abs(driver.answer(f, {}).view(np.int8)).max()) for f in range(8)]
    driver.close()
    assert steps == [0, 0, 0, 0, 30, 31, 32, 32] and driver.dropped == 0


def test_what_the_agent_raises_comes_out():
    class Broken(Counting):
        def step(self, columns, **others):
            raise ValueError("want x. Received: y")

    driver = Beside(Agent(Broken()))
    driver.begin()
    with pytest.raises(ValueError, match="want x"):
        driver.answer(0, {})
    assert InStep(Agent(Counting())).answer(0, {}).any()


# -- Faults ----------------------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    """Processes that descend from one."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found |= {int(path.parent.name)} | children(int(path.parent.name))
    return found


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("exit", r"Dolphin ended by itself \(exit code 3\)"),
        pytest.param("freeze", "Dolphin gave no frame for 1 s", marks=pytest.mark.slow),
        pytest.param(
            "close_pipes", "Dolphin no longer reads its controller pipes", marks=pytest.mark.slow
        ),
    ],
)
def test_faults_are_told_apart_and_leave_nothing_behind(fake, kind, message):
    before = children(os.getpid())
    fault = {"kind": kind, "frame": 20}
    options = fake(frames=40, fault=fault, hang_timeout_s=1.0)
    with pytest.raises(DolphinGone, match=message) as error:
        play(options, [seat(Random())], rules(options, games=1))
    assert error.value.exit_code == 74
    assert children(os.getpid()) <= before


@pytest.mark.slow
def test_a_killed_dolphin_is_noticed(fake):
    options = fake(frames=4000)
    dolphin = Dolphin(options, [1])
    with pytest.raises(DolphinGone, match=r"exit code -9"), dolphin:
        for step in range(400):
            dolphin.step()
            if step == 20:
                os.kill(dolphin.console._process.pid, signal.SIGKILL)

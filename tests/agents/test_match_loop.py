"""Games in the fake Dolphin: launched by libmelee, through its menus, frame by frame."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import melee
import numpy as np
import pytest

from exphil_tf.agents.agent import Agent, AgentOptions
from exphil_tf.agents.dolphin import Dolphin
from exphil_tf.agents.drivers import NEUTRAL, Beside, InStep
from exphil_tf.agents.game_record import Report
from exphil_tf.agents.match_loop import MatchLoop, MatchRules, Seat
from exphil_tf.features.packing import action_order, pack, unpack
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.replays.libmelee_state import SlippiConsole
from exphil_tf.replays.parse import parse
from exphil_tf.replays.writer import write_slp
from tests.agents.played import Random, assert_replay_holds, play, rules, seat
from tests.agents.test_agent import Counting

FRAMES = 50


def test_three_games_are_what_their_replays_hold(fake, tmp_path):
    """Inputs of frame N are in frame N + 1, and the file re-reads to what was seen."""
    options, driver = fake(frames=FRAMES), Random()
    records, lines = play(
        options, [seat(driver)], rules(options, games=3), report=Report(tmp_path / "report")
    )
    assert len(records) == len(lines) == len(driver.games) == 3
    for record, game in zip(records, driver.games, strict=True):
        path = options.replay_dir / record.replay
        assert record.replay_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        facts = record.character, record.opponent_character, record.stage, record.frames
        assert facts == ("mewtwo", "fox", "battlefield", FRAMES) and record.missed_frames == 0
        assert record.frame_time["calls"] == FRAMES * record.game
        assert_replay_holds(options, record, game)
    assert [r.game for r in Report(tmp_path / "report").records] == [1, 2, 3]


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


# -- Slippi Direct ---------------------------------------------------------------------------------


class Recorded:
    """A game whose states are those of a file, and then menus."""

    def __init__(self, path):
        self.console = SlippiConsole(path=str(path), is_dolphin=False)
        self.console.connect()
        self.controllers = {1: MagicMock(port=1)}

    def step(self):
        state = self.console.step()
        return SimpleNamespace(menu_state=melee.Menu.UNKNOWN_MENU) if state is None else state


@pytest.mark.parametrize("own", [1, 2])
def test_a_netplay_game_deals_the_ports_and_our_code_tells_which_is_ours(
    real_replay, tmp_path, own
):
    """The pad stays in port 1 of our Dolphin, whichever port the game shows us at."""
    game, codes = parse(real_replay("items")), ("OURS#7", "THEM#1")[:: 3 - 2 * own]
    players = [
        dataclasses.replace(player, code=code)
        for player, code in zip(game.info.players, codes, strict=True)
    ]
    info = dataclasses.replace(game.info, players=tuple(players))
    path = tmp_path / "game.slp"
    write_slp(dataclasses.replace(game, info=info), path)
    driver, report = Random(), Report(None)
    direct = MatchRules(Stage.BATTLEFIELD, 1, connect_code="THEM#1", own_code="OURS#7")
    recorded = Recorded(path)
    MatchLoop(recorded, [seat(driver)], direct, report=report, say=lambda _: None).run()
    seen = [columns["p.x"].tolist() for columns in driver.games[0][0]]
    want = game.frames["p.x"] if own == 1 else game.frames["p.x"][:, ::-1]
    assert seen == want.tolist() and report.records[0].frames == len(seen)
    assert (report.records[0].port, report.records[0].opponent_port) == (own, 3 - own)
    assert recorded.controllers[1].tilt_analog.called


@pytest.mark.slow
def test_the_account_is_copied_and_the_connection_delays(fake, tmp_path):
    account = tmp_path / "user.json"
    account.write_text('{"connectCode": "OURS#7"}')
    options = dataclasses.replace(fake(frames=5), user_json=account, online_delay=4)
    with Dolphin(options, [1]) as dolphin:
        home = Path(dolphin.console.dolphin_home_path)
        ini = (home / "Config/Dolphin.ini").read_text().lower().replace(" ", "")
        assert (home / "Slippi/user.json").read_text() == account.read_text()
        assert re.search(r"onlinedelay=4\b", ini)
    assert not home.exists() and account.exists()


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

"""Games in the simulator: agents see what records hold, seats change, results are counted."""

import json

import numpy as np
import pytest

from exphil_tf.agents.agent import Agent, AgentOptions
from exphil_tf.agents.game_record import Report, totals
from exphil_tf.agents.play_config import PlayConfig
from exphil_tf.agents.sim_play import SimGames, SimMatch, rows
from exphil_tf.features.packing import pack, unpack
from exphil_tf.features.viewpoint import take_perspective
from exphil_tf.inference.stepper import StepOutput
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import FIRST_FRAME
from exphil_tf.replays.parse import Route, read_replay


@pytest.fixture(autouse=True)
def _short_games(monkeypatch):
    monkeypatch.setattr("exphil_tf.sim.world.STOCKS", 1)


class Runner:
    """Runs off the stage to the right, by policies' answers; keeps what it was shown."""

    num_uniforms = 1

    def __init__(self, batch_size):
        self.batch_size, self.seen, self.resets = batch_size, [], []

    def reset(self, rows=None):
        self.resets.append(rows)

    def commit(self, controller):
        raise AssertionError("no action is repeated")

    def step(self, columns, *, uniforms=None, temperature=1.0):
        self.seen.append({name: column.copy() for name, column in columns.items()})
        controller = np.zeros((self.batch_size, 13), np.float32)
        controller[:, 8] = len(self.seen) % 40 > 3  # a flick now and then: it dashes
        return StepOutput(controller, controller.astype(np.int32), controller)


def play(tmp_path, stepper, games, script="stander", **match):
    report, said = Report(tmp_path / "report"), []
    match = SimMatch(
        "ours", f"script:{script}", script, (Character.FOX, Character.MARTH), Stage.BATTLEFIELD,
        games, mirrors_ports=True, replay_dir=tmp_path / "replays", **match,
    )  # fmt: skip
    agent = Agent(stepper, AgentOptions())
    SimGames(match, (agent, None), report=report, say=said.append).run()
    return report.records, said


def test_who_runs_off_the_stage_loses_by_self_destructs(tmp_path):
    stepper = Runner(2)
    records, said = play(tmp_path, stepper, 2)
    assert records == said
    records = sorted(records, key=lambda record: record.port)  # the second seat is at the edge
    assert [(r.port, r.opponent_port) for r in records] == [(1, 2), (2, 1)]
    for record in records:
        assert (record.character, record.opponent_character) == ("fox", "marth")
        assert (record.won, record.stocks, record.opponent_stocks) == (False, 0, 1)
        assert (record.self_destructs, record.opponent_self_destructs) == (1, 0)
        assert record.damage_dealt == record.damage_taken == 0
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["wins"] == 0 and summary["decided"] == 2
    assert summary["self_destructs_per_game"] == 1 and summary["damage_per_minute"] == 0
    # What was shown is what the replay holds, own player first.
    for row, record in enumerate(records):
        replay = read_replay(tmp_path / "replays" / record.replay)
        assert replay.route is Route.STRICT and replay.game.frames["frame"][0] == FIRST_FRAME
        written = unpack(pack(replay.game.frames))
        ego = take_perspective(written.columns, record.port - 1)
        shown = stepper.seen[: record.frames - 1]
        for name, column in ego.items():
            live = np.stack([columns[name][row] for columns in shown])
            np.testing.assert_array_equal(live, column[:-1], err_msg=name)


def test_more_games_than_rows_are_played_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setattr("exphil_tf.agents.sim_play.AT_ONCE", 2)
    assert rows(5) == 2
    stepper = Runner(2)
    records, _ = play(tmp_path, stepper, 5, seed=3)
    assert len(records) == 5 and len({record.replay for record in records}) == 5
    assert sorted(record.port for record in records) == [1, 1, 1, 2, 2]
    assert totals(records)["games"] == 5
    # All rows first, then each as its game ended, while there were some.
    ended = [rows.tolist() for rows in stepper.resets]
    assert ended[0] == [True, True] and sum(map(sum, ended)) == 5


def test_a_seed_plays_the_same_games(tmp_path):
    runs = [play(tmp_path / str(i), Runner(1), 1, "aggressor")[0][0] for i in range(2)]
    assert runs[0].replay_sha256 == runs[1].replay_sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opponent": "script:spacer"}, "want --sim with a script"),
        ({"sim": True, "games": 1}, "want script:NAME or the folder"),
        ({"sim": True, "opponent": "script:spacer"}, "want --games"),
        ({"sim": True, "games": 1, "opponent": "cpu-like:ninja"}, "want one of .*'ninja'"),
        ({"sim": True, "games": 1, "opponent": "x", "port": 3}, "want 1 and 2 with --sim"),
    ],
)
def test_what_makes_no_game_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PlayConfig(**options)

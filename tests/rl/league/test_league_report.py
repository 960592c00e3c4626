"""The page and the table of a league that took no time."""

import json
import re

import numpy as np
import pytest
from rich.console import Console

from exphil_tf import league as command
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.rl.league import standings
from exphil_tf.rl.league.league import Exploited, first_state
from exphil_tf.rl.league.league_report import _points, matrix, page
from exphil_tf.rl.league.rated_snapshots import chosen
from exphil_tf.rl.league.shown_games import worth_a_look
from exphil_tf.rl.league.state import Count, Snapshot, save
from exphil_tf.rl.tally import Tally

ANCHORS = ("script:stander", "script:camper")


def snapshot(name, role, generation, parent, frames):
    player = name.rsplit("-", 1)[0]
    return Snapshot(
        name, player, role, generation, parent, frames, generation, ("self",), (), "", joins=True
    )


@pytest.fixture
def state():
    found = first_state(seed=1, anchors=ANCHORS, weights_sha256="")
    found.snapshots.append(snapshot("main1-001", "main", 1, "start", 1000))
    found.snapshots.append(snapshot("main-exploiter1-001", "main_exploiter", 1, "start", 1000))
    exploiter = snapshot("fresh-exploiter-001-500", "fresh-exploiter", 1, "start", 500)
    found.snapshots.append(exploiter.__class__(**{**vars(exploiter), "opponents": ("main1-001",)}))
    did = Tally(games=50, frames=180_000, openings=20, conversions=5, approaching=90_000).sums()
    for one, other, wins in (
        ("script:camper", "script:stander", 40.0),
        ("start", "script:stander", 30.0),
        ("start", "script:camper", 20.0),
        ("main1-001", "start", 48.0),
        ("main1-001", "script:camper", 45.0),
        ("main-exploiter1-001", "main1-001", 20.0),
        ("fresh-exploiter-001-500", "main1-001", 10.0),
    ):
        found.counts.append(Count(one, other, 50, wins, did))
    return found


def log(folder, name):
    run = folder / "turns" / name
    run.mkdir(parents=True)
    lines = [
        {"event": "train", "step": step, "reward": step, "kl_teacher": 0.1 * step, "reverted": 3}
        | {"reward_terms": {"stocks": step, "damage<b>": 1.0}}
        for step in (1, 2, 4)
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"event": "train", "st'
    (run / "log.jsonl").write_text(text)


def test_the_page_has_everything_and_needs_nothing(state, tmp_path):
    log(tmp_path, "main1-001")
    games = tmp_path / "shown-games" / "main1-001-against-start"
    games.mkdir(parents=True)
    told = {"replay": "sim-1-0000.slp", "outcome": "won 2–0 stocks, 3.1 min"}
    atomic.write_json(games / "games.json", {"one": "main1-001", "other": "start", "games": [told]})
    text = page(state, tmp_path)
    assert "it became stronger" in text
    assert "wins 20 % of 50 games against main1-001 (95 % interval 11 to 33 %)" in text
    assert 'href="shown-games/main1-001-against-start/sim-1-0000.html"' in text
    assert 'href="shown-games/main1-001-against-start/sim-1-0000.slp"' in text
    assert "main1-001 3." in text  # updates taken back
    assert text.count("<svg") == 3
    assert "<b>" not in text
    assert not re.search(r'(src|href)="(https?:)?//', text) and "<script" not in text
    assert page(state, tmp_path) == text
    # Without logs and games it is a page too.
    assert page(state, tmp_path / "nothing").count("<svg") == 1


def test_a_player_that_begins_anew_leaves_a_gap(state, tmp_path):
    state.snapshots += [
        snapshot("main1-002", "main", 2, "main1-001", 3000),
        snapshot("main-exploiter1-002", "main_exploiter", 2, "start", 1000),
    ]
    for one in state.snapshots:
        log(tmp_path, one.name)
    (whole, anew) = (
        [point.frames for point in _points(state, tmp_path, player)]
        for player in ("main1", "main-exploiter1")
    )
    assert whole == [250, 500, 1000, 1500, 2000, 3000]
    np.testing.assert_equal(anew, [250, 500, 1000, np.nan, 250, 500, 1000])


def test_the_matrix_counts_each_pair_from_both_sides(state):
    names = ["main1-001", "start", "script:stander"]
    cells = matrix(state, names)
    assert (cells[0][1].share, cells[0][1].games) == (0.96, 50)
    assert cells[1][0].share == pytest.approx(0.04)
    assert cells[0][0] is None and cells[0][2] is None


def test_standings_are_sorted_and_told(state, tmp_path, capsys):
    rows = standings.standings(state)
    assert rows[0].name == "main1-001" and rows[-1].name == "script:stander"
    assert (rows[0].games, rows[0].wins) == (200, 48 + 45 + 30 + 40)
    assert standings.is_stronger(state) is True
    save(state, tmp_path)
    assert command.main(["standings", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["standings"]] == [row.name for row in rows]
    assert Exploited(**told["exploitability"][0]).wins == 10
    console = Console(width=120, record=True)
    standings.print_standings(state, console)
    assert "wins 10 of 50 games against main1-001" in console.export_text()


def test_the_report_is_written_beside_the_league(state, tmp_path):
    save(state, tmp_path)
    assert command.main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == page(state, tmp_path)
    with pytest.raises(UserError, match="nobody knows what it played"):
        command.main(["report", str(tmp_path), "--games", "1"])
    with pytest.raises(UserError, match="no such file"):
        command.main(["standings", str(tmp_path / "none")])


def test_games_to_look_at_are_of_the_main_agent(state):
    others = ["start", "main-exploiter1-001", "fresh-exploiter-001-500", "script:camper"]
    assert worth_a_look(state) == ("main1-001", others)
    state.snapshots = state.snapshots[:1]
    with pytest.raises(UserError, match="want a main agent"):
        worth_a_look(state)


def test_snapshots_to_rate_are_spread_evenly():
    assert chosen(["a"]) == ["a"]
    assert chosen([str(n) for n in range(10)]) == ["0", "3", "6", "9"]

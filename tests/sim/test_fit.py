"""Constants estimated from frames, and the tables that came of it."""

import csv
import json

import numpy as np
import pytest

from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import Character
from exphil_tf.sim import __main__ as command
from exphil_tf.sim import recorded
from exphil_tf.sim.attributes import attribute_table, data_file, melee_values, read_rows
from exphil_tf.sim.estimates import commonest, largest, line
from exphil_tf.sim.sequences import Sequences
from exphil_tf.sim.tables import tables

rng = np.random.default_rng(0)


def test_the_commonest_value_ignores_what_something_else_made():
    values = np.concatenate([np.full(60, 0.23), rng.uniform(-3, 3, 200), [np.nan]])
    found = commonest(values)
    assert found.value == pytest.approx(0.23) and found.count == 60
    assert found.share == pytest.approx(60 / 260) and found.spread < 1e-4
    assert np.isnan(commonest(np.array([])).value)
    assert commonest(np.array([1.0, 1, 1, 2, 2]), rank=1).value == 2


def test_the_line_of_most_rows_is_found_among_others():
    design = np.stack([np.ones(300), rng.uniform(0.3, 1, 300)], 1)
    values = design @ [0.02, 0.06]
    values[200:] = rng.uniform(0, 1, 100)
    base, slope = line(design, values)
    assert base.value == pytest.approx(0.02, abs=1e-6) and base.count >= 200
    assert slope.value == pytest.approx(0.06, abs=1e-6)
    assert np.isnan(line(design[:5], values[:5])[0].value), "too few rows"


def test_the_bound_that_is_reached():
    assert largest(np.array([0.1, 1.7, 1.7, 1.2])).value == 1.7


def test_runs_are_whole_stays_without_hitlag():
    actions = np.array([14, 24, 24, 24, 25, 24, 24, 14, 24, 24])
    columns = {"action": actions, "state_age": np.arange(10.0), "hitlag": np.zeros(10)}
    columns["hitlag"][6] = 3
    follows = np.append(np.ones(9, bool), False)
    frames, following, age = Sequences(columns, follows).runs(24)
    assert (frames.tolist(), following.tolist(), age.tolist()) == ([3], [25], [3.0])


def published(name):
    return {
        "jumpsquat": {"FOX": 3, "FALCO": 5, "MARTH": 4, "CPTFALCON": 4, "GANONDORF": 6,
                      "JIGGLYPUFF": 5, "SHEIK": 3, "PEACH": 5, "ZELDA": 6},
        "dash_speed": {"FOX": 1.9, "MARTH": 1.5, "SHEIK": 1.7, "CPTFALCON": 2.0},
        "run_max": {"FOX": 2.2, "FALCO": 1.5, "MARTH": 1.8, "CPTFALCON": 2.3, "SHEIK": 1.8},
        "jump_speed": {"FOX": 3.68, "FALCO": 4.1, "MARTH": 2.4, "SHEIK": 2.8},
        "hop_speed": {"FOX": 2.1, "FALCO": 1.9, "MARTH": 1.5, "CPTFALCON": 1.9},
        "fair_lag": {"FOX": 22, "FALCO": 22, "MARTH": 15, "CPTFALCON": 19},
    }[name]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["jumpsquat", "dash_speed", "run_max", "jump_speed", "hop_speed", "fair_lag"]
)
def test_the_table_holds_the_published_values(name):
    table = attribute_table()
    for who, value in published(name).items():
        assert table[name][Character[who]] == pytest.approx(value, abs=1e-4), who


def test_where_libmelee_knows_a_constant_replays_say_the_same():
    rows = {
        (int(r["character"]), r["attribute"]): r for r in read_rows(data_file("attributes.csv"))
    }
    same = differ = 0
    for key, value in melee_values().items():
        row = rows.get(key)
        if not value or row is None or int(row["count"]) < 100 or key[1] == "air_jump_stick":
            continue
        agrees = float(row["value"]) == pytest.approx(value, rel=0.01)
        same, differ = same + agrees, differ + (not agrees)
    assert same > 80 and differ < 8


def test_tables_are_small_sorted_and_without_holes():
    moves = ("attributes", "feet", "aerials", "specials", "courses", "curves", "ledge", "catch",
             "charges", "hangs", "diamonds")  # fmt: skip
    hits = ("hits", "throws", "held", "bodies", "bubbles", "safe", "weights", "shots")
    for name in moves + hits:
        path = data_file(f"{name}.csv")
        assert path.stat().st_size < 64 << 10
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows and all(value != "" for row in rows for value in row.values())
        ids = [int(row["character"]) for row in rows]
        assert ids == sorted(ids)
    found = tables()[0]
    for name in ("feet", "ledge", "steps", "x_value", "y_value"):
        assert np.isfinite(found[name]).all(), name


def test_a_player_is_held_out_whatever_the_collection():
    assert recorded.is_held_out("") and recorded.is_held_out("x") == recorded.is_held_out("x")
    names = [f"player {at}" for at in range(2000)]
    assert np.mean([recorded.is_held_out(name) for name in names]) == pytest.approx(0.2, abs=0.03)


def test_commands_say_what_they_want(tmp_path, capsys):
    with pytest.raises(UserError, match="want one of fit, validate first"):
        command.main(["fly"])
    with pytest.raises(UserError, match=r"games of version 3.8"):
        command.main(["validate", "--replays", str(tmp_path)])
    assert command.main(["--help"]) == 0 and "validate" in capsys.readouterr().out


@pytest.mark.slow
def test_recorded_games_are_foretold(corpus_dir, tmp_path, capsys):
    import zipfile

    with zipfile.ZipFile(corpus_dir / "games.zip") as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".slp"))[:6]:
            (tmp_path / name.replace("/", "_")).write_bytes(archive.read(name))
    report = tmp_path / "f.json"
    arguments = ["--replays", str(tmp_path), "--everybody", "--json", str(report)]
    assert command.main(["validate", *arguments, "--html", str(tmp_path / "f.html")]) == 0
    found = json.loads(report.read_text())
    assert found["all"]["frames"] > 50_000 and found["all"]["both"] > 0.85
    for kind in ("dash", "aerial", "jump", "landing"):
        assert found["action_class"][kind]["within_0.01"] > 0.93, kind
    aerials = found["hits"]["aerial"]
    assert aerials["made_share"] > 0.6 and aerials["percent"] > 0.8 and aerials["speed"] > 0.8
    shots = found["shots"].values()
    assert sum(one["near"] for one in shots) > 0.9 * sum(one["frames"] for one in shots)
    assert found["stocks"]["made"] > 0.9 * found["stocks"]["lost"]
    assert "Not simulated" in (tmp_path / "f.html").read_text()
    assert command.main(["fit", "--replays", str(tmp_path), "--output", str(tmp_path / "t")]) == 0
    assert "gravity" in (tmp_path / "t" / "attributes.csv").read_text()
    assert len((tmp_path / "t" / "hits.csv").read_text().splitlines()) > 50

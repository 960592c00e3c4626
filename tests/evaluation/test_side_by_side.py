"""Runs and an exported bundle on the same games, beside what each is told to cost by itself."""

import csv
import json
import re

import pytest

from exphil_tf import evaluate
from exphil_tf.evaluation.evaluation_config import of_one_policy
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation.errors import UserError

OPTIONS = ("--split", "train", "--batch-size", "3", "--unroll-frames", "100", "--no-jit")


@pytest.fixture(scope="module")
def compared(policies, dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    runs = [str(policies / name) for name in ("one", "late", "exported")]
    where = ["--data", str(dataset), "--output", str(output), "--csv", str(output / "all.csv")]
    assert evaluate.main([*runs, *where, *OPTIONS, "--view-games", "1"]) == 0
    return output


@pytest.fixture(scope="module")
def values(compared):
    return json.loads((compared / "comparison.json").read_text())


def test_a_policy_costs_what_it_costs_by_itself(values, policies, dataset, tmp_path):
    """By another way of reading the same games: batches of unrolls, memory carried."""
    where = ["--data", str(dataset), "--output", str(tmp_path), "--no-jit", "--split", "train"]
    alone = ["--own-action-frames", "0", "--no-compare-resets", "--csv", str(tmp_path / "a.csv")]
    assert evaluate.main([str(policies / "one"), *where, *alone]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    one, rows = values["policies"]["one"], found["policy"]["matchups"]
    assert one["frames"] == found["policy"]["frames"] > 500
    assert one["nll"] == pytest.approx(found["policy"]["nll"], rel=1e-5)
    for name in ("repeat", "markov"):
        guess = found["baselines"][name]
        assert values["baselines"][name]["nll"] == pytest.approx(guess["nll"], rel=1e-9)
    for name in COMPONENTS:
        wanted = found["policy"]["components"][name]["nll"]
        assert one["components"][name] == pytest.approx(wanted, rel=1e-5)
    # Matchups are the same frames over again.
    assert [r["frames"] for r in values["matchups"]["one"]] == [r["frames"] for r in rows]
    total = sum(row["frames"] * row["nll"] for row in rows)
    assert total == pytest.approx(one["nll"] * one["frames"], rel=1e-5)
    assert found["component_curves"]["buttons"]["validation"] == {"steps": [10], "values": [3.0]}
    with (tmp_path / "a.csv").open() as file:
        assert {row["policy"] for row in csv.DictReader(file)} > {"policy", "markov"}


def test_an_export_costs_what_its_network_costs(values):
    one, exported = (values["policies"][name] for name in ("one", "exported"))
    assert exported["nll"] == pytest.approx(one["nll"], rel=1e-4)
    assert exported["frames"] == one["frames"] == values["policies"]["late"]["frames"]
    assert (exported["form"], one["form"]) == ("onnx float32", "keras float32")
    assert exported["parameters"] == one["parameters"]
    assert exported["weights_sha256"] != values["policies"]["late"]["weights_sha256"]


def test_the_score_is_the_weighted_accuracy(compared, values):
    with (compared / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    weights = {"buttons": 0.3, "main_x": 0.2, "main_y": 0.2, "c_x": 0.1, "c_y": 0.1}
    weights["shoulder"] = 0.1
    for row in rows:
        score = sum(w * float(row[f"accuracy_{name}"]) for name, w in weights.items())
        assert float(row["score"]) == pytest.approx(score)
        nats = sum(float(row[f"nats_{name}"]) for name in COMPONENTS)
        assert float(row["nats"]) == pytest.approx(nats)
    whole = [row for row in rows if row["character"] == "all"]
    assert {row["policy"] for row in whole} == {"one", "late", "exported", "repeat", "markov"}
    of_one = [row for row in rows if row["policy"] == "one" and row["character"] != "all"]
    assert sum(int(row["frames"]) for row in of_one) == values["policies"]["one"]["frames"]


def test_games_differ_and_have_pages(compared, values, dataset):
    games = values["games"]
    lines = map(json.loads, (dataset / "games.jsonl").read_text().splitlines())
    assert {g["key"] for g in games} == {one["key"] for one in lines if one["split"] == "train"}
    assert [game["difference"] for game in games] == sorted(
        (max(g["nats"].values()) - min(g["nats"].values()) for g in games), reverse=True
    )
    total = sum(game["frames"] * game["nats"]["late"] for game in games)
    late = values["policies"]["late"]
    assert total == pytest.approx(late["nll"] * late["frames"], rel=1e-6)
    page = (compared / "comparison.html").read_text()
    links = re.findall(r'href="(games/[^"]+)"', page)
    assert len(links) == 3 and not re.search(r"https?://", page)
    for link in links:
        assert games[0]["key"][:12] in link
        assert (compared / link).read_text().startswith("<!doctype html>")
    assert "Their delays differ" in page and "Training</h2>" in page
    mean = re.search(r'"mean":([0-9.]+)', (compared / links[0]).read_text())
    # The page shows frames before GO too, so its mean is near and not equal.
    assert mean and float(mean[1]) == pytest.approx(games[0]["nats"]["one"], rel=0.3)


def test_one_export_stands_beside_the_guesses(policies, dataset, tmp_path, capsys):
    where = ["--data", str(dataset), "--output", str(tmp_path), "--limit-frames", "100"]
    assert evaluate.main([str(policies / "exported"), *where, *OPTIONS]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("exported", "repeat", "markov", "macro-F1"))
    found = json.loads((tmp_path / "comparison.json").read_text())
    # One whole game, both its views.
    assert len(found["games"]) == 1 and not (tmp_path / "games").exists()


@pytest.mark.parametrize(
    ("runs", "flags", "said"),
    [
        (("one", "late"), ("--by-return",), "--by-return: of one policy"),
        (("one", "late"), ("--watch",), "--watch: of one policy"),
        (("exported",), ("--no-carry-state",), "--no-carry-state: of one policy"),
        (("one",), ("--view-games", "3"), "--view-games: of several policies"),
        (("one", "one"), (), "given twice"),
        (("one", "late"), ("--frame-delay", "0"), "late: --frame-delay: this policy was trained"),
        (("one", "late"), ("--frame-delay", "0", "3"), "want one for several"),
        (("one", "none"), (), "no such folder"),
    ],
)
def test_what_is_refused(policies, dataset, runs, flags, said):
    with pytest.raises(UserError) as caught:
        folders = [str(policies / run) for run in runs]
        evaluate.main([*folders, "--data", str(dataset), *flags])
    assert said in str(caught.value)


def test_a_wrong_place_is_told_before_anything_is_measured(policies, dataset, tmp_path):
    (tmp_path / "file").write_text("mine")
    runs = [str(policies / "one"), str(policies / "late"), "--data", str(dataset)]
    with pytest.raises(OSError, match="Not a directory|File exists"):
        evaluate.main([*runs, "--output", str(tmp_path / "file/out")])
    with pytest.raises(IsADirectoryError):
        evaluate.main([*runs, "--output", str(tmp_path / "out"), "--csv", str(tmp_path)])
    assert (tmp_path / "file").read_text() == "mine"


def test_options_of_one_policy_are_known_by_construction():
    assert {"by_return", "carry_state", "own_action_frames"} <= of_one_policy()
    assert not of_one_policy() & {"split", "frame_delay", "jit"}

"""The commands that list, tell, compare, watch and register runs; without TensorFlow."""

import hashlib
import json
import threading
from pathlib import Path

import pytest

from exphil_tf import registry, runs
from exphil_tf.foundation.config import dump_yaml, load
from exphil_tf.foundation.errors import UserError
from exphil_tf.training import run_folder
from exphil_tf.training.registry import Registry, entry_of
from exphil_tf.training.train_config import TrainConfig

TRAIN = {
    "event": "train", "step": 30, "epoch": 1.5, "nll_total": 1.25, "frames_per_s": 4000.0,
    "input_wait": 0.25, "eta_s": 7200.0, "time": "2026-01-01T10:20:30+0000",
}  # fmt: skip


def make_run(folder, weights, *, nll=1.0, config=None, **facts):
    (folder / "policy").mkdir(parents=True)
    (folder / "policy/weights.safetensors").write_bytes(weights)
    run_folder.save_options(folder, dump_yaml(load(TrainConfig, ["--data", "d"], env={})))
    results = {"reason": "finished", "steps": 40, "best_nll": nll, "total_time_seconds": 7200.0}
    told = {
        "created": "2026-01-02T03:04:05+00:00",
        "config": {"backbone": "mamba", "lr": 0.1, **(config or {})},
        "data": {"folder": "d", "training_frames": 12345, "manifest_sha256": "x"},
        "results": results,
        **facts,
    }
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "log.jsonl").write_text(json.dumps(TRAIN) + '\n{"event": "tr')
    return told


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = make_run(tmp_path / "runs/first", b"1", nll=1.5, config={"ema": True})
    digest = hashlib.sha256(b"1").hexdigest()
    origin = {"init_from": {"weights_sha256": digest}}
    second = make_run(tmp_path / "runs/second", b"2", config={"lr": 0.2}, **origin)
    registry_ = Registry(tmp_path / "runs")
    for name, facts in (("first", first), ("second", second)):
        registry_.enter(entry_of(tmp_path / "runs" / name, facts))
    return registry_


def said(capsys, main, line):
    assert main(line.split()) == 0
    return capsys.readouterr().out


def test_the_registry_lists_and_finds(two, capsys):
    listed = json.loads(said(capsys, registry.main, "list --json"))
    assert [(one["name"], one["tags"]) for one in listed] == [
        ("first", ["mamba", "averaged"]), ("second", ["mamba"]),
    ]  # fmt: skip
    assert said(capsys, registry.main, "best").strip() == "runs/second"
    assert said(capsys, registry.main, "best --tags averaged,mamba").strip() == "runs/first"
    assert said(capsys, registry.main, "best --metric best_nll --tags averaged").strip()
    with pytest.raises(UserError, match="no policy with lstm in its registry") as caught:
        registry.main(["best", "--tags", "lstm"])
    assert caught.value.exit_code == 66
    shown = json.loads(said(capsys, registry.main, "show runs/second"))
    assert shown["metrics"] == {"best_nll": 1.0}
    with pytest.raises(UserError, match="third: no such policy"):
        registry.main(["show", "third"])
    assert said(capsys, registry.main, "list --sort best").index("second") < said(
        capsys, registry.main, "list --sort best"
    ).index("first")


def test_where_a_policy_came_from(two, capsys, tmp_path):
    assert "comes from: first" in said(capsys, registry.main, "lineage second")
    assert "led to: second" in said(capsys, registry.main, "lineage first")
    # Wherever its folder lies by now.
    (tmp_path / "runs/first").rename(tmp_path / "runs/elsewhere")
    assert "comes from: first" in said(capsys, registry.main, "lineage second")


def test_tags_stay_when_a_run_goes_on(two, capsys):
    assert "first: mamba averaged good" in said(capsys, registry.main, "tag first good")
    facts = json.loads((two.folder / "first/config.json").read_text())
    facts["results"]["best_nll"] = 0.5
    two.enter(entry_of(two.folder / "first", facts))
    entry = two.find("first")
    assert entry.tags == ("mamba", "averaged", "good")
    assert entry.metrics["best_nll"] == 0.5
    assert "averaged" not in said(capsys, registry.main, "tag first averaged --remove")
    assert "runs/first stays" in said(capsys, registry.main, "delete first")
    assert (two.folder / "first/policy").is_dir()
    assert [one.name for one in two.entries()] == ["second"]


def test_runs_that_end_together_all_enter(two):
    entry = two.find("first")
    made = [entry.__class__(**{**vars(entry), "name": f"run{i}"}) for i in range(8)]
    threads = [threading.Thread(target=two.enter, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.name for one in two.entries()} >= {one.name for one in made}


def test_a_damaged_registry_is_named(two):
    (two.folder / "registry.json").write_text('{"version": 9, "policies": []}')
    with pytest.raises(UserError, match=r"registry\.json: damaged: want version 1") as caught:
        registry.main(["list"])
    assert caught.value.exit_code == 65


def test_runs_side_by_side(two, capsys):
    listed = said(capsys, runs.main, "list")
    assert "first" in listed and "nll 1.5000" in listed and "finished" in listed
    assert "2.0 h" in said(capsys, runs.main, "info first")
    compared = said(capsys, runs.main, "compare first second")
    results, _, options = compared.partition("Options that differ")
    assert "best_nll" in results
    assert "lr" in options and "ema" in options and "backbone" not in options
    with pytest.raises(UserError, match="no run of that name in runs. There are: first, second"):
        runs.main(["info", "third"])
    with pytest.raises(UserError, match="want two runs or more"):
        runs.main(["compare", "first"])
    with pytest.raises(UserError, match="want one of list, info, compare, watch first"):
        runs.main([])


def test_a_run_is_watched_from_outside(two, capsys):
    """A line that is half written is no event."""
    shown = said(capsys, runs.main, "watch first --once")
    for words in ("4,000 frames/s", "25.0%", "2.0 h", "nll_total 1.2500", "10:20:30 event=train"):
        assert words in shown
    assert shown.count("event=") == 1


def test_a_log_that_tells_nonsense_is_watched(two, capsys):
    odd = {"event": "train", "step": None, "epoch": "x", "goodput": [], "nll_total": "a"}
    log = Path("runs/first/log.jsonl")
    log.write_text("\n".join(["[1]", '{"event": 5}', json.dumps(odd), "\x00"]))
    assert "0 frames/s" in said(capsys, runs.main, "watch first --once")

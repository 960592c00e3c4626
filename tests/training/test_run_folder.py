import dataclasses
import re
import shlex
import subprocess

import pytest
import yaml

from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import dump_yaml, load, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.training import run_folder, run_options
from exphil_tf.training.option_kinds import differing_options
from exphil_tf.training.run_config import RunConfig
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.train_config import TrainConfig, resolve


@pytest.fixture(autouse=True)
def _cwd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_run(path, created="2026-01-01", results=None, config=None):
    path.mkdir(parents=True)
    run_folder.save_options(path, dump_yaml(load(TrainConfig, ["--lr", "0.5"])))
    facts = {"created": created, "results": results, "config": config or {}}
    facts["data"] = {"manifest_sha256": "abc"}
    atomic.write_json(path / "config.json", facts)
    return path


def test_names():
    location = run_folder.locate(RunConfig(), prefix="mewtwo_mamba")
    assert re.fullmatch(r"runs/mewtwo_mamba_[a-z_]+_\d{8}_\d{6}", str(location.run_dir))
    assert str(run_folder.locate(RunConfig(name="a"), prefix="x").run_dir) == "runs/a"
    assert str(run_folder.locate(RunConfig(run_dir="b/c"), prefix="x").run_dir) == "b/c"


def test_auto_is_the_named_run_or_the_newest_unfinished(tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "old", "2026-01-01")
    make_run(runs / "new", "2026-01-03")
    make_run(runs / "done", "2026-01-04", results={"steps": 1})
    found = run_folder.locate(RunConfig(resume="auto"), prefix="x")
    assert found == RunLocation(run_folder.Path("runs/new"), is_resuming=True)
    named = run_folder.locate(RunConfig(resume="auto", name="fresh"), prefix="x")
    assert str(named.run_dir) == "runs/fresh"
    assert named.saved_yaml is None


def test_resume_takes_a_run_or_a_checkpoint(tmp_path):
    run = make_run(tmp_path / "runs/a")
    checkpoint = run / "checkpoints/step-00000005"
    checkpoint.mkdir(parents=True)
    assert run_folder.locate(RunConfig(resume=str(run)), prefix="x").checkpoint is None
    location = run_folder.locate(RunConfig(resume=str(checkpoint)), prefix="x")
    assert (location.run_dir, location.checkpoint) == (run, checkpoint)
    with pytest.raises(UserError, match="neither a run's folder nor a checkpoint") as caught:
        run_folder.locate(RunConfig(resume=str(tmp_path)), prefix="x")
    assert caught.value.exit_code == 66


def test_going_on_and_starting_anew_are_two_wishes():
    with pytest.raises(UserError, match="--overwrite and --resume: want one of them"):
        run_folder.locate(RunConfig(overwrite=True, resume="auto", name="a"), prefix="p")


def test_a_run_is_overwritten_only_on_request(tmp_path):
    run = make_run(tmp_path / "runs/a")
    (run / "checkpoints").mkdir()
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds a run") as caught:
        run_folder.claim(RunLocation(run, is_resuming=False), overwrite=False)
    assert caught.value.exit_code == 73
    assert (run / "config.yaml").exists()
    run_folder.claim(RunLocation(run, is_resuming=False), overwrite=True)
    assert [p.name for p in run.iterdir()] == ["notes.txt"]


def test_saved_options_repeat_the_run(tmp_path):
    argv = ["--preset", "production", "--seed", "3", "--overwrite", "--data", "d"]
    config = load(TrainConfig, argv, presets=run_folder_presets())
    run_folder.save_options(tmp_path, dump_yaml(config))
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert "overwrite" not in values
    again = load(TrainConfig, ["--config", str(tmp_path / "config.yaml"), "--overwrite"])
    assert again == config


def run_folder_presets():
    from exphil_tf.foundation.config import PRESETS

    return PRESETS


def facts_of(lr=0.5, keep_last=3, data="abc", **more):
    config = {"lr": lr, "keep_last": keep_last}
    return {"config": config, "data": {"manifest_sha256": data}, **more}


def test_going_on_needs_the_same_options_and_data(tmp_path):
    run = make_run(tmp_path / "runs/a", config={"lr": 0.5, "keep_last": 3})
    saved = run_folder.saved_facts(run)
    run_folder.check_same(run, saved, facts_of(keep_last=9))
    for changed, words in (
        (facts_of(lr=0.1), r"lr \(was 0.5, is 0.1\)"),
        (facts_of(data="def"), "other data"),
        (facts_of(sources=["teacher"], teacher="x"), "another teacher"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            run_folder.check_same(run, saved, changed)
        assert caught.value.exit_code == 78
    with pytest.raises(UserError, match="another teacher"):
        run_folder.check_same(run, facts_of(sources=["teacher"], teacher="x"), facts_of())


@pytest.mark.parametrize(
    "damage", [None, b"", b"{", b"[]", b"{}", b'{"config": {}, "data": {}}', b"[" * 99999]
)
def test_a_run_that_cannot_tell_what_it_is(tmp_path, damage):
    run = make_run(tmp_path / "runs/a")
    path = run / "config.json"
    sound = path.read_bytes()
    (run / "checkpoints/step-00000005").mkdir(parents=True)
    (run / "checkpoints/step-00000005/run.json").write_bytes(sound)
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    for ask in (
        lambda: run_folder.saved_facts(run),
        lambda: run_folder.locate(RunConfig(resume="auto"), prefix="x"),
    ):
        with pytest.raises(UserError, match=r"config\.json: (missing|damaged)") as caught:
            ask()
        assert caught.value.exit_code == 65
    command = caught.value.next_step.partition(": ")[2]
    subprocess.run(shlex.split(command), check=True, cwd=tmp_path)
    assert path.read_bytes() == sound
    assert run_folder.saved_facts(run)["created"] == "2026-01-01"


def test_a_run_killed_before_it_saved_anything_may_start_again(tmp_path):
    run = make_run(tmp_path / "runs/a")
    (run / "config.json").unlink()
    assert run_folder.saved_facts(run) == {}
    assert run_folder.newest_unfinished(tmp_path / "runs") is None


def test_saved_options_are_firm_but_for_those_that_change_nothing(tmp_path):
    run = make_run(tmp_path / "runs/a")
    saved, foreign = run_options.saved_options(run, known=options(TrainConfig))
    assert foreign == []
    env = {"EXPHIL_LR": "0.1", "EXPHIL_KEEP_LAST": "9", "EXPHIL_HIDDEN": "3"}
    got = load(TrainConfig, ["--hidden", "5"], env=env, saved=saved)
    assert (got.schedule.lr, got.run.keep_last, got.backbone.hidden) == (0.5, 9, (5,))


def test_a_run_of_before_an_option_goes_on_without_it(tmp_path):
    """Whatever its default has become since."""
    run = make_run(tmp_path / "runs/a")
    values = yaml.safe_load((run / "config.yaml").read_text())
    younger = {"condition-on-delay", "condition-dropout", "min-player-games", "return-edges"}
    younger |= {"carry-state"}
    old = {name: value for name, value in values.items() if name not in younger}
    old |= {"online-robust": True, "learn-player-styles": True}
    (run / "config.yaml").write_text(yaml.safe_dump(old))
    saved, _ = run_options.saved_options(run, known=options(TrainConfig))
    got = load(TrainConfig, ["--data", "d"], env={}, saved=saved)
    assert not got.tells_delay and got.input.carry_state is False
    assert got.conditions.condition_dropout == 0.0
    assert load(TrainConfig, ["--online-robust"]).tells_delay
    assert load(TrainConfig, ["--learn-player-styles"]).conditions.condition_dropout == 0.1
    before = {name.replace("-", "_"): value for name, value in old.items()}
    assert differing_options(before, to_dict(resolve(got)[0])) == []
    tells = dataclasses.replace(got.conditions, condition_on_delay=True, min_player_games=2)
    now = to_dict(dataclasses.replace(got, conditions=tells))
    assert differing_options(before, now) == ["condition_on_delay", "min_player_games"]


@pytest.mark.parametrize(
    "text",
    [
        b"lr: *a", b"lr: [[[[1]]]]", b"lr: 1\nlr: 2", b"lr: \xff", b"lr: \0", b"{" * 9999, b"- a",
        b"lr: !!python/name:os.system x", b"lr:\n\t- 1", b"lr: 2020-99-99",
    ],
)  # fmt: skip
def test_damaged_options_are_named(tmp_path, text):
    run = make_run(tmp_path / "runs/a")
    (run / "config.yaml").write_bytes(text)
    with pytest.raises(UserError, match=r"config\.yaml:") as caught:
        saved, _ = run_options.saved_options(run, known=options(TrainConfig))
        load(TrainConfig, [], env={}, saved=saved)
    assert caught.value.exit_code in (2, 65)

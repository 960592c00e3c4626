import re

import pytest
import yaml

from exphil_tf.checkpoints import atomic
from exphil_tf.config import dump_yaml, load
from exphil_tf.errors import UserError
from exphil_tf.training import run_folder
from exphil_tf.training.config import RunConfig
from exphil_tf.training.options import TrainConfig
from exphil_tf.training.run_folder import Target


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
    target = run_folder.find_target(RunConfig(), prefix="mewtwo_mamba")
    assert re.fullmatch(r"runs/mewtwo_mamba_[a-z_]+_\d{8}_\d{6}", str(target.run_dir))
    assert str(run_folder.find_target(RunConfig(name="a"), prefix="x").run_dir) == "runs/a"
    assert str(run_folder.find_target(RunConfig(run_dir="b/c"), prefix="x").run_dir) == "b/c"


def test_auto_is_the_named_run_or_the_newest_unfinished(tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "old", "2026-01-01")
    make_run(runs / "new", "2026-01-03")
    make_run(runs / "done", "2026-01-04", results={"steps": 1})
    found = run_folder.find_target(RunConfig(resume="auto"), prefix="x")
    assert found == Target(run_folder.Path("runs/new"), is_resuming=True)
    named = run_folder.find_target(RunConfig(resume="auto", name="fresh"), prefix="x")
    assert str(named.run_dir) == "runs/fresh"
    assert named.saved_yaml is None


def test_resume_takes_a_run_or_a_checkpoint(tmp_path):
    run = make_run(tmp_path / "runs/a")
    checkpoint = run / "checkpoints/step-00000005"
    checkpoint.mkdir(parents=True)
    assert run_folder.find_target(RunConfig(resume=str(run)), prefix="x").checkpoint is None
    target = run_folder.find_target(RunConfig(resume=str(checkpoint)), prefix="x")
    assert (target.run_dir, target.checkpoint) == (run, checkpoint)
    with pytest.raises(UserError, match="neither a run's folder nor a checkpoint") as caught:
        run_folder.find_target(RunConfig(resume=str(tmp_path)), prefix="x")
    assert caught.value.exit_code == 66


def test_a_run_is_overwritten_only_on_request(tmp_path):
    run = make_run(tmp_path / "runs/a")
    (run / "checkpoints").mkdir()
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds a run") as caught:
        run_folder.claim(Target(run, is_resuming=False), overwrite=False)
    assert caught.value.exit_code == 73
    assert (run / "config.yaml").exists()
    run_folder.claim(Target(run, is_resuming=False), overwrite=True)
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
    from exphil_tf.config import PRESETS

    return PRESETS


def test_going_on_needs_the_same_options_and_data(tmp_path):
    run = make_run(tmp_path / "runs/a", config={"lr": 0.5, "keep_last": 3})
    same = {"config": {"lr": 0.5, "keep_last": 9}, "manifest_sha256": "abc"}
    run_folder.check_same(run, **same)
    with pytest.raises(UserError, match=r"lr \(was 0.5, is 0.1\)") as caught:
        run_folder.check_same(run, **{**same, "config": {"lr": 0.1}})
    assert caught.value.exit_code == 78
    with pytest.raises(UserError, match="other data"):
        run_folder.check_same(run, **{**same, "manifest_sha256": "def"})

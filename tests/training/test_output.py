"""A training run whose readers, log disk or file sizes fail, and what it says of itself."""

import json
import shutil

import pytest

from exphil_tf.foundation import atomic


@pytest.mark.parametrize("stdout", ["gone", pytest.param("full", marks=pytest.mark.slow)])
def test_nobody_reads_and_the_run_ends_well(trainer, tmp_path, stdout):
    ended = trainer(tmp_path, "--max-steps", "6", stdout=stdout)
    assert ended.status == 0, ended.output
    facts = json.loads((tmp_path / "runs/run/config.json").read_text())
    assert facts["results"]["steps"] == 6
    assert not atomic.problems(tmp_path / "runs/run/policy")


def test_a_full_log_disk_stops_neither_start_nor_run(trainer, tmp_path):
    run = tmp_path / "runs/run"
    run.mkdir(parents=True)
    (run / "log.jsonl").symlink_to("/dev/full")
    (run / "tb").write_text("no folder")
    ended = trainer(tmp_path, "--max-steps", "6")
    assert ended.status == 0, ended.output
    assert not atomic.problems(run / "policy")


def test_a_limit_on_file_size_is_a_sentence_and_keeps_the_last_checkpoint(trainer, tmp_path):
    trainer(tmp_path, "--max-steps", "20", "--save-every-steps", "5", signal_at_update=6)
    before = {path.name for path in (tmp_path / "runs/run/checkpoints").iterdir()}
    ended = trainer(tmp_path, "--max-steps", "20", "--resume", "auto", file_bytes=20_000)
    assert ended.status == 74, ended.output
    last = ended.output.splitlines()[-1]
    assert last.startswith("error: ")
    assert "File too large" in last
    assert "runs/run" in last
    found = list((tmp_path / "runs/run/checkpoints").iterdir())
    assert {path.name for path in found} == before
    assert all(not atomic.problems(path) for path in found)


def test_without_validation_games_nothing_is_called_best(trainer, tmp_path, dataset):
    folder = tmp_path / "my data"
    arguments = ["--replays", str(dataset.parent / "replays"), "--output", str(folder)]
    options = ["--chunk-frames", "256", "--min-frames", "100", "--workers", "1"]
    made = trainer.command(tmp_path, *arguments, *options, "--val-split", "0", module="preprocess")
    assert "Next: python -m exphil_tf.train --data '" in made.output
    ended = trainer(tmp_path, "--data", str(folder), "--max-steps", "4")
    assert ended.status == 0, ended.output
    assert "note: this dataset has no validation games" in ended.output
    assert "best nll" not in ended.output
    assert f"--data '{folder}'" in ended.output.splitlines()[-1]
    results = json.loads((tmp_path / "runs/run/config.json").read_text())["results"]
    assert results["best_nll"] is None
    assert results["lowest_training_nll"] > 0


def test_a_bundle_alone_brings_its_options(trainer, tmp_path, dataset):
    assert trainer(tmp_path, "--max-steps", "4").status == 0
    shutil.copytree(tmp_path / "runs/run/policy", tmp_path / "elsewhere/bundle")
    start = ["--init-from", "elsewhere/bundle", "--max-steps", "2", "--name"]
    ended = trainer.command(tmp_path, *start, "b")
    assert ended.status == 0, ended.output
    shutil.rmtree(tmp_path / "runs/run")
    config = tmp_path / "elsewhere/bundle/config.json"
    values = json.loads(config.read_text())
    values["provenance"]["config"]["data"] = "gone"
    config.write_text(json.dumps(values))
    ended = trainer.command(tmp_path, *start, "c")
    assert ended.status == 66
    assert "--init-from elsewhere/bundle: wants the data of its run, and gone" in ended.output


def test_a_resume_that_finds_nothing_says_so(trainer, tmp_path):
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/config.yaml").write_text("lr: 0.1\n")
    ended = trainer(tmp_path, "--resume", "auto", "--name", "mime", "--dry-run")
    assert ended.status == 0, ended.output
    sentence = "nothing to resume in runs/mime, a new run starts; did you mean mine?"
    assert f"note: --resume auto: {sentence}" in ended.output

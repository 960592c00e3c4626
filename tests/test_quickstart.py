"""The whole path at once: samples, dataset, policy, evaluation, and nothing twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_tf import quickstart
from exphil_tf.training import run_folder

ROOT = Path(__file__).resolve().parents[1]


def run(cwd, *flags):
    arguments = [sys.executable, "-m", "exphil_tf.quickstart", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        arguments,
        check=False,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_quickstart_runs_once_and_then_shows(tmp_path):
    flags = ["--games", "3", "--max-steps", "30"]
    first = run(tmp_path, *flags)
    assert "$ python -m exphil_tf.train" in first
    (policy,) = (tmp_path / "quickstart").glob("run-*/policy/weights.safetensors")
    before = policy.stat().st_mtime_ns
    second = run(tmp_path, *flags)
    assert "$ python -m exphil_tf.train" not in second
    assert "$ python -m exphil_tf.evaluate" not in second
    assert "Whole action" in first
    assert "Whole action" in second
    assert policy.stat().st_mtime_ns == before
    page = tmp_path / "quickstart" / policy.parent.parent.name / "evaluation/validation"
    assert (page / "evaluation.html").is_file()
    # Another choice is another run; the replays stay.
    assert "replays: 3" in run(tmp_path, "--games", "3", "--max-steps", "40")
    assert len(list((tmp_path / "quickstart").glob("run-*"))) == 2


def test_replays_are_made_once(tmp_path, monkeypatch, capsys):
    calls = []

    def fake(argv):
        calls.append(argv)
        folder = Path(argv[1])
        folder.mkdir(exist_ok=True)
        for n in range(int(argv[3])):
            (folder / f"{n}.slp").write_bytes(b"x")

    monkeypatch.setattr(quickstart.samples, "main", fake)
    config = quickstart.QuickstartConfig(output=tmp_path, games=3)
    for _ in range(2):
        quickstart._make_replays(config, tmp_path / "replays")
    assert len(calls) == 1
    (tmp_path / "replays/1.slp").unlink()
    quickstart._make_replays(config, tmp_path / "replays")
    assert len(calls) == 2
    assert len(list((tmp_path / "replays").glob("*.slp"))) == 3


def test_a_failing_step_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "_make_replays", lambda *a: None)
    monkeypatch.setattr(quickstart.preprocess, "main", lambda argv: 65)
    assert quickstart.main(["--output", str(tmp_path)]) == 65


def test_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(quickstart, "load_manifest", lambda folder: None)
    monkeypatch.setattr(quickstart.provenance, "manifest_sha256", lambda manifest: "abc")

    def fake(argv):
        run_dir = Path(argv[argv.index("--run-dir") + 1])
        run_dir.mkdir(parents=True)
        results = {"results": {"steps": 1}}
        (run_dir / run_folder.CONFIG_JSON).write_text(json.dumps(results))
        trained.append(argv)

    monkeypatch.setattr(quickstart.train, "main", fake)
    config = quickstart.QuickstartConfig(output=tmp_path)
    assert quickstart._train(config, tmp_path) == quickstart._train(config, tmp_path)
    assert len(trained) == 1
    assert "--resume" in trained[0]

"""The whole path at once: samples, dataset, policy, evaluation, and nothing twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_tf import preprocess, quickstart, samples
from exphil_tf.foundation import atomic
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


class Commands:
    """Makes replays and datasets for real, and only pretends to train and to evaluate."""

    def __init__(self):
        self.called = []
        self.failing = None

    def __call__(self, name, words):
        self.called.append(name)
        if name == self.failing:
            return 65, ""
        if name == "samples":
            return samples.main([*words, "--min-seconds", "9", "--max-seconds", "10"]) or 0, ""
        if name == "preprocess":
            small = ["--chunk-frames", "256", "--min-frames", "100", "--workers", "1"]
            return preprocess.main([*words, *small]) or 0, ""
        return getattr(self, name)(words)

    def train(self, words):
        run_dir = Path(words[words.index("--run-dir") + 1])
        assert words[words.index("--resume") + 1] == "auto"
        (run_dir / run_folder.POLICY).mkdir(parents=True)
        (run_dir / run_folder.POLICY / "weights.safetensors").write_bytes(b"weights")
        atomic.write_json(run_dir / run_folder.CONFIG_JSON, {"results": {"steps": 1}})
        return 0, ""

    def evaluate(self, words):
        run_dir = Path(words[0])
        weights = atomic.sha256(run_dir / run_folder.POLICY / "weights.safetensors")
        facts = {"provenance": {"weights_sha256": weights}}
        folder = run_dir / "evaluation/validation"
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "evaluation.json", facts)
        return 0, "Whole action 1.234\n"


def test_nothing_is_made_twice(tmp_path, capsys):
    config, commands = quickstart.QuickstartConfig(output=tmp_path, games=2), Commands()
    assert quickstart.quickstart(config, commands) == 0
    assert commands.called == ["samples", "preprocess", "train", "evaluate"]
    capsys.readouterr()
    assert quickstart.quickstart(config, commands) == 0
    assert commands.called[4:] == ["preprocess"]  # which sees for itself
    printed = capsys.readouterr().out
    assert "replays: 2 in" in printed
    assert "trained before" in printed
    assert "Whole action 1.234" in printed
    # A replay that is gone is made again, the same one, so that nothing else is.
    next((tmp_path / "replays").glob("*.slp")).unlink()
    assert quickstart.quickstart(config, commands) == 0
    assert commands.called[5:] == ["samples", "preprocess"]
    # Other weights are evaluated again.
    (weights,) = tmp_path.glob("run-*/policy/weights.safetensors")
    weights.write_bytes(b"others")
    assert quickstart.quickstart(config, commands) == 0
    assert commands.called[7:] == ["preprocess", "evaluate"]


def test_a_failing_step_ends_it(tmp_path):
    commands = Commands()
    commands.failing = "preprocess"
    config = quickstart.QuickstartConfig(output=tmp_path, games=2)
    assert quickstart.quickstart(config, commands) == 65
    assert commands.called == ["samples", "preprocess"]


def test_a_command_shows_what_it_prints_and_hands_it_on(capfd):
    code, printed = quickstart.run_command("train", ["--no-such-flag"])
    assert (code, printed) == (2, "")
    assert "no-such-flag" in capfd.readouterr().err
    code, printed = quickstart.run_command("samples", ["--help"])
    assert code == 0
    assert "--games" in printed
    assert capfd.readouterr().out == printed

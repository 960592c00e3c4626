"""The benchmarks run on toy data and say what they compare."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from exphil_tf.benchmark import main
from exphil_tf.benchmarking import timing
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.foundation.errors import UserError


def figures(tmp_path: Path, *subjects: str) -> dict:
    output = tmp_path / "figures.json"
    flags = ["--games", "3", "--seconds", "0.05", "--output", str(output)]
    assert main([*subjects, *flags]) == 0
    return json.loads(output.read_text())


def test_report_shows_only_what_a_row_has():
    report = Report("title", ("a", "b"), {"one": {"a": 1234.6, "b": 0.4321}, "two": {"a": 2.0}})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "1,235" in text and "0.432" in text
    assert report.to_dict()["rows"]["two"] == {"a": 2.0}


def test_warm_up_does_not_count():
    now_s = 0.0
    calls = 0

    def work() -> int:
        nonlocal calls, now_s
        calls += 1
        now_s += 1.0
        return 5

    timed = timing.for_seconds(work, seconds=10.0, clock=lambda: now_s)
    assert (calls, timed.done, timed.wall_s) == (15, 50, 10.0)
    assert timed.per_s == 5.0


SPIN = "import time\nwhile time.process_time() < 0.3: pass"
NESTED = f"""
import subprocess, sys
for _ in range(2): subprocess.run([sys.executable, "-c", {SPIN!r}])
print("done", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_work_of_ended_grandchildren_counts():
    """Workers of a fork server are its children, and it lives on."""
    server = subprocess.Popen(
        [sys.executable, "-c", NESTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    before = timing.cpu_s()
    server.stdout.readline()
    used = timing.cpu_s() - before
    server.communicate()
    assert 0.5 < used < 60


def test_unknown_subjects_are_refused():
    with pytest.raises(UserError, match="want a subject first"):
        main(["everything"])


@pytest.mark.slow
def test_preprocessing_and_input_give_their_ratios(tmp_path, capsys):
    results = figures(tmp_path, "preprocess", "input")
    assert set(results) == {"machine", "preprocess", "input"}
    rows = results["preprocess"]["rows"]
    assert rows["peppi-py, parse only"]["ratio to peppi-py"] == 1
    assert rows["original + mirrored"]["ratio to peppi-py"] > 0
    assert 0 < rows["original"]["bytes per frame and perspective"] < 60
    rows = results["input"]["rows"]
    assert rows["naive, unrolls"]["ratio to naive"] == 1
    assert rows["windows (stride 1)"]["ratio to naive"] > 1
    assert rows["unrolls"]["frames/s"] == pytest.approx(60 * rows["unrolls"]["unrolls/s"])
    assert "memcpy" in capsys.readouterr().out


@pytest.mark.slow
def test_training_tells_what_waits_for_input(tmp_path):
    rows = figures(tmp_path, "training")["training"]["rows"]
    assert all(0 <= row["waiting for input, %"] < 100 for row in rows.values())

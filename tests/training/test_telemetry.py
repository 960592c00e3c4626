import contextlib
import io
import json
import logging
import os
import re
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from exphil_tf.training.console_sink import ConsoleSink
from exphil_tf.training.metric import Metric
from exphil_tf.training.spent import Spent
from exphil_tf.training.telemetry import JsonLines, Telemetry, TensorBoard, scalars

TRAIN = {
    "epoch": 0.5, "nll_total": 3.0, "nll": {"buttons": 1.0, "main_x": 2.0}, "lr": 1e-3,
    "frames_per_s": 1234.5, "input_wait": 0.01, "eta_s": 125.0,
    "press_rate": {"predicted": {"A": 0.1}}, "grad_norm": 0.25, "update_ms": 12.5,
}  # fmt: skip


class Broken:
    def __init__(self):
        self.calls = 0

    def write(self, event):
        self.calls += 1
        raise OSError(28, "No space left on device")

    def close(self):
        raise OSError(28, "No space left on device")


class Kept:
    def __init__(self):
        self.events = []

    def write(self, event):
        self.events.append(event)

    def close(self):
        self.events.append("closed")


def test_a_broken_sink_is_dropped_with_one_warning(caplog):
    broken, kept = Broken(), Kept()
    told = Telemetry([broken, kept])
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            told.write("train", step=step)
        told.close()
    assert broken.calls == 1
    assert len(kept.events) == 4
    assert caplog.text.count("training goes on without it") == 1


def test_closing_never_raises(caplog):
    with caplog.at_level(logging.WARNING):
        Telemetry([Broken()]).close()
    assert "its last lines are lost" in caplog.text


def test_json_lines_are_appended_and_hold_no_nan(tmp_path):
    for step in (1, 2):
        sink = JsonLines(tmp_path / "log.jsonl")
        sink.write({"event": "train", "step": step, "loss": float("nan"), "nll": {"a": 1.5}})
        sink.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["loss"] is None
    assert lines[0]["nll"] == {"a": 1.5}
    assert lines[0]["time"]


def test_full_device_only_warns(caplog):
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        pytest.skip("no /dev/full here")
    sink = JsonLines(Path("/dev/full"))
    told = Telemetry([sink])
    with caplog.at_level(logging.WARNING):
        told.write("train", step=1)
    assert "No space left on device" in caplog.text
    with contextlib.suppress(OSError):
        sink.close()


def test_tensorboard_has_scalars_by_head_and_hparams(tmp_path):
    sink = TensorBoard(tmp_path, {"lr": 0.001, "backbone": "mamba", "hidden": [8, 8], "seed": None})
    sink.write({"event": "start", "step": 0})
    sink.write({"event": "train", "step": 7, **TRAIN})
    sink.close()
    found = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    found.Reload()
    names = set(found.Tags()["tensors"])
    assert {"train/nll/main_x", "train/lr", "train/press_rate/predicted/A"} <= names
    (event,) = found.Tensors("train/nll/main_x")
    assert event.step == 7
    assert "_hparams_/session_start_info" in found.summary_metadata


def test_scalars_are_flattened_numbers():
    found = scalars(
        {"event": "validation", "step": 3, "is_best": True, "split": "x", "nll": {"a": 1}}
    )
    assert found == {"validation/nll/a": 1.0}


METRICS = (
    Metric("lr", "lr", ".2e"),
    Metric("nll_total", "nll", is_selecting=True),
    Metric("nll", "nll by component", ".3f"),
    Metric("press_rate"),
)


def lines(verbosity, **options):
    stream = io.StringIO()
    console = Console(file=stream, width=200, **options)
    sink = ConsoleSink(10, METRICS, verbosity=verbosity, console=console)
    for step in (1, 2):
        sink.write({"event": "train", "step": step, **TRAIN})
    sink.write({"event": "checkpoint", "step": 2, "path": "x"})
    sink.write(
        {"event": "validation", "step": 2, "split": "validation", "nll_total": 2.5,
         "nll": {"main_x": 2.5}, "is_best": True}
    )  # fmt: skip
    sink.close()
    return stream.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    assert "\x1b" not in lines(2)
    assert lines(0) == ""
    assert len(lines(1).splitlines()) == 3
    assert len(lines(2).splitlines()) == 4
    assert "validation nll 2.5000 (best): main_x 2.500" in lines(1)
    plain = "step 1/10 epoch 0.50 nll 3.0000 lr 1.00e-03 1,234 frames/s input wait 1.0% 2 min left"
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] " + re.escape(plain), lines(1).splitlines()[0])
    assert lines(2).splitlines()[0].endswith(f"{plain} 12.5 ms/update gradient norm 0.250")


def test_memory_is_told_where_an_epoch_ends():
    stream = io.StringIO()
    sink = ConsoleSink(10, METRICS, console=Console(file=stream, width=200))
    gpus = {"GPU 0": {"used": 18 << 30, "total": 24 << 30}}
    sink.write({"event": "train", "step": 1, **TRAIN, "resident_bytes": 3 << 29, "gpu_bytes": gpus})
    assert (
        stream.getvalue().splitlines()[1].endswith("] memory: 1.5 GiB; GPU 0: 18.0/24.0 GiB (75%)")
    )


def test_where_the_time_went():
    spent = Spent()
    with spent.on("updates"):
        pass
    spent.seconds["updates"] = 3.0
    spent.shift("updates", "input", 1.0)
    spent._begun_s -= 4.0
    parts = spent.by_part()
    assert (parts["updates"], parts["input"]) == (2.0, 1.0)
    assert parts["other"] == pytest.approx(1.0, abs=0.5)
    assert list(parts)[0] == "updates"
    stream = io.StringIO()
    sink = ConsoleSink(10, METRICS, shows_spent=True, console=Console(file=stream, width=200))
    end = {"reason": "finished", "best": 1.0, "best_on": "training", "seconds": 4.0}
    sink.write({"event": "end", "step": 10, "weights_sha256": "a", "spent": parts, **end})
    assert "Where the time went" in stream.getvalue()


def test_live_line_on_a_terminal():
    assert "\x1b" in lines(1, force_terminal=True)

"""W&B on a server on loopback: what arrives there, and what a bad one costs a run."""

import base64
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from exphil_tf.training import wandb_writer
from exphil_tf.training.telemetry import Telemetry
from exphil_tf.training.wandb_sink import WandB
from tests.fake_wandb import install
from tests.loopback import serving

KEY = "0123456789" * 4


def environ(folder, url):
    """As a user has it who wants to be online; the stand-in is the library."""
    return {"PYTHONPATH": install(folder), "WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}


def tell(folder, environ, *, finish_s=30.0, steps=3):
    """A run that is told of some updates, as the loop tells."""
    sink = WandB(
        folder, project="p", run_id="run_1", name="mine", hparams={"lr": 1, "path": Path("x")},
        environ=environ, finish_s=finish_s,
    )  # fmt: skip
    told = Telemetry([sink])
    for step in range(steps):
        told.write("train", step=step, nll={"main_x": 2.0}, loss=float("nan"), split="x")
    told.close()
    return sink


def kept_by(got, *, key=KEY):
    """A handler that keeps what is sent to it, if the key is right."""
    wanted = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.headers["Authorization"] == wanted
            got.append((self.path, json.loads(body)) if is_known else "refused")
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format, *args):
            pass

    return Handler


def test_rows_arrive_in_order_under_a_stable_id(tmp_path, caplog, capfd):
    got = []
    with serving(kept_by(got)) as url:
        tell(tmp_path, environ(tmp_path, url))
    (_, start), *rows, end = got
    wanted = {"project": "p", "name": "mine", "id": "run_1", "resume": "allow"}
    assert wanted.items() <= start.items()
    assert start["config"] == {"lr": 1, "path": "x"}
    # NaN and words are no numbers to draw.
    row = {"train/nll/main_x": 2.0}
    assert rows == [("/log", {"step": step, "row": row}) for step in range(3)]
    assert end == ("/finish", {})
    assert not caplog.text and capfd.readouterr() == ("", "")
    assert KEY not in str(got)


def test_without_a_key_it_stays_here(tmp_path):
    tell(tmp_path, {"PYTHONPATH": install(tmp_path)})
    lines = [json.loads(line) for line in (tmp_path / "offline.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["init", "log", "log", "log", "finish"]
    tell(tmp_path, {**environ(tmp_path, "http://nowhere"), "WANDB_MODE": "disabled"}, steps=0)
    assert (tmp_path / "disabled.jsonl").is_file()


def test_a_refused_key_and_a_closed_port_cost_a_warning(tmp_path, caplog):
    got = []
    with serving(kept_by(got, key="another")) as url, caplog.at_level(logging.WARNING):
        tell(tmp_path, environ(tmp_path, url))
    assert got == ["refused"]
    assert "W&B: HTTP Error 401: Unauthorized; training goes on without it" in caplog.text
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        tell(tmp_path, environ(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}"))
    assert "Connection refused>; training goes on without it" in caplog.text
    tell(tmp_path, {"PYTHONPATH": str(tmp_path)})  # where there is no such library, or the real one
    assert caplog.text.count("training goes on without it") <= 3
    assert KEY not in caplog.text


def silent():
    """A server that takes connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_hangs_neither_slows_nor_stops(tmp_path, caplog):
    server, url = silent()
    with server, caplog.at_level(logging.WARNING):
        # More than queues and pipe hold; a write that waited would never come back.
        sink = tell(tmp_path, environ(tmp_path, url), finish_s=0.3, steps=4000)
    assert "W&B does not answer; its last lines are lost" in caplog.text
    assert sink._process.wait() == -signal.SIGKILL
    assert not sink._thread.is_alive()
    assert caplog.text.count("W&B") == 1


def test_it_ends_soon_after_a_run_that_was_killed(tmp_path):
    server, url = silent()
    with server:
        child = subprocess.Popen(
            [sys.executable, "-P", wandb_writer.__file__],
            stdin=subprocess.PIPE, env=environ(tmp_path, url),
        )  # fmt: skip
        assert child.stdin is not None
        options = {"dir": str(tmp_path), "mode": "online", "settings": {}, "finish_s": 0.1}
        options |= dict.fromkeys(("project", "name", "id", "config", "resume"), "x")
        child.stdin.write(json.dumps(options).encode() + b"\n")
        child.stdin.close()  # what the end of its parent does
        assert child.wait(timeout=60) == 1


@pytest.mark.slow
def test_the_library_itself(tmp_path, caplog):
    """Where it is installed: offline it leaves what can be uploaded; if it hangs, nothing waits."""
    pytest.importorskip("wandb")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with caplog.at_level(logging.WARNING):
        tell(tmp_path, ours, finish_s=60.0)
        assert list(tmp_path.glob("wandb/offline-run-*-run_1/*.wandb")) and not caplog.text
        server, url = silent()
        with server:
            began = threading.active_count()
            tell(tmp_path, {**ours, "WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}, finish_s=1.0)
    assert "W&B" in caplog.text and threading.active_count() <= began

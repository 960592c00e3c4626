"""The command, in its forms; and that no key is in anything it says."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from exphil_tf import sync
from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.cloud.download import download
from exphil_tf.cloud.store import FolderStore
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from tests.faulty_stores import make_run, tree
from tests.loopback import serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr("exphil_tf.cloud.sums._sleep", lambda seconds: None)


def said(capsys, *words):
    code = sync.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_up_list_and_down(tmp_path, capsys):
    run, store = make_run(tmp_path / "runs/mine", 5), tmp_path / "store"
    code, out, _ = said(capsys, "up", tmp_path / "runs", store)
    assert (code, "6 files" in out) == (0, True), out
    assert "0 files" in said(capsys, "watch", tmp_path / "runs", store, "--once")[1]
    _, out, _ = said(capsys, "list", store)
    assert "mine/checkpoints/step-00000005/" in out
    assert "sync-manifest" not in out
    assert said(capsys, "down", store, tmp_path / "back")[0] == 0
    assert tree(tmp_path / "back/mine") == tree(run)


def test_snapshots_stay_as_they_were(tmp_path, capsys):
    run, store = make_run(tmp_path / "checkpoints"), tmp_path / "store"
    assert said(capsys, "snapshot", run, store, "--date", "2026-02-01")[0] == 0
    (run / "log.jsonl").write_text("later")
    assert said(capsys, "snapshot", run, store)[0] == 0
    before = tree(store / "snapshots/2026-02-01/checkpoints")
    assert before["log.jsonl"] != b"later"
    today = time.strftime("%Y-%m-%d")
    assert (store / f"snapshots/{today}/checkpoints/log.jsonl").read_text() == "later"


def test_what_was_not_copied_is_an_exit_code(tmp_path, capsys):
    run = make_run(tmp_path / "run", 5)
    FolderStore(tmp_path / "store")
    said(capsys, "up", run, tmp_path / "store")
    (tmp_path / "store/checkpoints/step-00000005/state.data").write_bytes(b"?")
    code, out, err = said(capsys, "down", tmp_path / "store", tmp_path / "back")
    assert (code, "1 not copied" in out) == (65, True)
    assert "step-00000005: not whole" in err


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (["up", "nowhere", "x"], "nowhere: no such folder", 66),
        (["down", "nowhere", "x"], "nowhere: no such folder", 66),
        (["up", ".", "gs://x"], "no address of a store", 2),
        (["watch", ".", "x", "--interval", "0"], "interval: want 0.05", 2),
        (["snapshot", ".", "x", "--date", "../y"], "date: want a date", 2),
        (["list", "nowhere"], "nowhere: no such folder", 66),
        (["up", "", "x"], "Received: an empty word", 2),
        (["up", ".", "copy"], r"want a copy outside of what it is a copy of", 2),
        (["watch", ".", "."], r"want a copy outside of what it is a copy of", 2),
        (["snapshot", ".", "."], r"want a copy outside of what it is a copy of", 2),
        (["down", ".", "copy/of"], r"want a copy outside of what it is a copy of", 2),
        (["move", ".", "x"], "want one of up, down, watch, snapshot, list first", 2),
    ],
)
def test_wrong_words(words, text, code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=text.replace("(", r"\(")) as caught:
        sync.main(words)
    assert caught.value.exit_code == code


@pytest.fixture
def refusing():
    """A server that refuses and tells the key in its answer, as S3 does."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

        def do_GET(self):
            body = (
                b"<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>canary-access"
                b"</AWSAccessKeyId></Error>"
            )
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

    with serving(Handler) as address:
        yield address


def test_no_key_is_in_an_error_or_a_traceback(refusing, tmp_path):
    pytest.importorskip("obstore", reason="the extra `cloud`")
    make_run(tmp_path / "run", 5)
    environ = {
        **os.environ, "R2_ACCESS_KEY": "canary-access", "R2_SECRET_KEY": "canary-secret",
        "R2_ENDPOINT": refusing, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }  # fmt: skip
    code = "import exphil_tf.sync as s, sys; s.main(sys.argv[1:])"  # with its whole traceback
    for start in (["-m", "exphil_tf.sync"], ["-c", code]):
        ended = subprocess.run(
            [sys.executable, *start, "up", str(tmp_path / "run"), "r2:some-bucket"],
            env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode != 0
        assert "some-bucket" in ended.stderr or "sync-manifest" in ended.stderr
        assert "canary" not in ended.stdout + ended.stderr
    assert ("Traceback" in ended.stderr) is True


@pytest.mark.slow
def test_a_hundred_uploads_that_are_killed(s3_server, bucket, tmp_path):
    """SIGKILL at random moments of real uploads: no half checkpoint is ever taken for whole."""
    from exphil_tf.cloud.address import open_store, parse

    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": s3_server}
    run = make_run(tmp_path / "run", 1, size=200_000)
    script = (
        "import sys; from pathlib import Path\n"
        "from exphil_tf.cloud.address import open_store, parse\n"
        "from exphil_tf.cloud.upload import upload\n"
        f"store = open_store(parse('s3:{bucket}'), {json.dumps(keys)})\n"
        "print('go', flush=True); upload(Path(sys.argv[1]), store); print('done', flush=True)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    draw, kills, step, newest = random.Random(1), 0, 1, 0
    store = open_store(parse(f"s3:{bucket}"), keys)
    while kills < 100:
        argv = [sys.executable, "-c", script, str(run)]
        with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "go\n"
            time.sleep(draw.random() * 0.3)
            child.send_signal(signal.SIGKILL)
            kills += "done" not in child.stdout.read()
        back = tmp_path / f"back{kills}"
        summary = download(store, back)
        assert all("unfinished" in text for text in summary.problems)
        found = CheckpointStore(back / "checkpoints").checkpoints()
        assert all(not atomic.problems(one.path) for one in found)
        there = max((one.step for one in found), default=0)
        assert there >= newest, "what was whole stays"
        newest = there
        if newest == step:  # whole by now: the next one
            step += 1
            make_run(run, step, size=200_000, seed=step)
    assert newest >= 1

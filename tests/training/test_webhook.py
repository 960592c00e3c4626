"""What a chat is told of a run, by a server on loopback; the address is told to nobody."""

import json
import logging
import time
from http.server import BaseHTTPRequestHandler

import pytest

from exphil_tf.cloud import pods
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.run_end import RunEnd
from exphil_tf.training.webhook import VARIABLE, Webhook
from tests.loopback import serving


class Server:
    """Takes requests; answers with `status`."""

    def __init__(self):
        self.requests, self.status = [], 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                self.send_response(outer.status)
                self.end_headers()

            do_PUT = do_POST

        self.handler, self.url = Handler, ""

    def texts(self):
        return [json.loads(body)["text"] for *_, body in self.requests]


@pytest.fixture
def server():
    made = Server()
    with serving(made.handler) as made.url:
        yield made


def test_end_and_nan_are_told_and_nothing_else(server):
    hook = Webhook(f"{server.url}/canary", "mine")
    for event in ({"event": "start", "step": 0}, {"event": "compiled", "step": 1},
                  {"event": "train", "step": 5}, {"event": "note", "step": 5, "text": "hello"},
                  {"event": "note", "step": 9, "text": "5 updates in a row were NaN or infinite"},
                  {"event": "end", "step": 10, "reason": "finished", "best": 0.5, "seconds": 7.0},
                  ):  # fmt: skip
        hook.write(event)
    hook.close()
    assert server.texts() == [
        "mine: step 9: 5 updates in a row were NaN or infinite",
        "mine: finished at step 10, best 0.5000, 7 s",
    ]


def test_a_run_that_stands_still_or_stops_before_its_end(server):
    hook = Webhook(server.url, "mine", stall_s=0.05)
    hook.write({"event": "compiled", "step": 1})
    deadline = time.monotonic() + 20
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    hook.close()
    assert server.texts()[0].startswith("mine: stands still")
    assert server.texts()[-1] == "mine: stopped before its end"
    assert len(server.requests) == 2  # told once


def test_an_address_that_is_wrong_or_down_is_in_no_message(caplog, capsys, tmp_path):
    with pytest.raises(ValueError) as caught:
        Webhook("canary-address", "mine")
    assert "canary" not in str(caught.value)
    with caplog.at_level(logging.DEBUG):
        Webhook("http://127.0.0.1:9/canary-address", "mine").close()
    assert "does not answer" in caplog.text
    assert "canary" not in caplog.text
    end = RunEnd(CloudConfig(), tmp_path, None, {VARIABLE: "canary-address"})
    assert end.sinks() == []
    assert "canary" not in repr(end) + capsys.readouterr().err


# -- Stopping a machine --------------------------------------------------------------------------

RUNPOD = {"RUNPOD_API_KEY": "canary-key", "RUNPOD_POD_ID": "pod1"}


def test_a_pod_is_stopped(server):
    pods.stop("runpod", RUNPOD, url=f"{server.url}/v1/pods/{{id}}/stop")
    environ = {"CONTAINER_API_KEY": "canary-key", "CONTAINER_ID": "77"}
    pods.stop("vast", environ, url=f"{server.url}/instances/{{id}}/")
    (method, path, headers, body), (vast_method, vast_path, _, vast_body) = server.requests
    assert (method, path, body) == ("POST", "/v1/pods/pod1/stop", b"")
    assert headers["Authorization"] == "Bearer canary-key"
    assert (vast_method, vast_path) == ("PUT", "/instances/77/")
    assert json.loads(vast_body) == {"state": "stopped"}


def test_a_provider_that_refuses(server):
    server.status = 403
    with pytest.raises(UserError, match=r"runpod does not stop this machine \(HTTP 403\)") as found:
        pods.stop("runpod", RUNPOD, url=server.url)
    assert "canary" not in str(found.value)
    with pytest.raises(UserError, match="RUNPOD_POD_ID: want letters"):
        pods.check("runpod", {**RUNPOD, "RUNPOD_POD_ID": "../x"})


def test_the_machine_stops_after_the_last_copy_or_not_at_all(server, tmp_path, monkeypatch, capsys):
    url = f"{server.url}/{{id}}"
    provider = pods.PROVIDERS["runpod"]._replace(url=url)
    monkeypatch.setitem(pods.PROVIDERS, "runpod", provider)

    class Copy:
        error = "HTTP 403"

        def start(self):
            pass

        def finish(self, limit_s):
            return self.error is None

    copy = Copy()
    for error, count in (("HTTP 403", 0), (None, 1)):
        copy.error = error
        end = RunEnd(CloudConfig(stop_pod="runpod"), tmp_path, copy, RUNPOD)
        with end.following(None):
            end.begin()
        assert len(server.requests) == count
    assert "the machine goes on" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), end.following(None):
        end.begin()
        raise KeyboardInterrupt
    assert len(server.requests) == 1

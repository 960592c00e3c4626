"""A job for Dataflow, handed to a stand-in of Google's storage and of Dataflow itself.

What a worker would run is not run; that the job arrives whole, with its options, is.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlparse

import google_crc32c
import pytest

from tests.loopback import serving

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--replays=gs://bucket/replays", "--output=gs://bucket/data", "--runner=DataflowRunner",
    "--project=project", "--region=us-central1", "--temp_location=gs://bucket/tmp",
    "--staging_location=gs://bucket/staging", "--no_auth", "--job_name=preprocess",
    "--sdk_container_image=registry/exphil-tf-worker:1", "--sdk_location=container",
)  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    outer: ClassVar["Google"]

    def log_message(self, format, *args):
        pass

    def answer(self, values, status=200, **headers):
        data = json.dumps(values).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self):
        place = urlparse(self.path).path
        if place.endswith("/jobs/job-1"):
            self.answer({"id": "job-1", "currentState": "JOB_STATE_PENDING"})
        elif place == "/storage/v1/b/bucket":
            self.answer({"kind": "storage#bucket", "name": "bucket", "id": "bucket"})
        else:
            self.answer({"error": {"code": 404, "message": "no such object"}}, 404)

    def do_POST(self):
        place, data = urlparse(self.path), self.body()
        if place.path.endswith("/jobs"):
            self.outer.jobs.append((place.path, json.loads(data)))
            self.answer({"id": "job-1", "name": "preprocess"}, self.outer.status)
            return
        name = json.loads(data or b"{}").get("name") or parse_qs(place.query)["name"][0]
        self.answer({}, location=f"http://{self.headers['Host']}/put/{name}")

    def do_PUT(self):
        name = unquote(self.path.removeprefix("/put/"))
        data = self.outer.files[name] = self.outer.files.get(name, b"") + self.body()
        sums = {
            "crc32c": google_crc32c.value(data).to_bytes(4, "big"),
            "md5Hash": hashlib.md5(data).digest(),
        }
        told = {kind: base64.b64encode(one).decode() for kind, one in sums.items()}
        self.answer({"name": name, "bucket": "bucket", "size": str(len(data)), **told})


class Google:
    """Takes files and jobs."""

    def __init__(self):
        self.files, self.jobs, self.status = {}, [], 200
        self.handler, self.url = type("Own", (Handler,), {"outer": self}), ""


@pytest.fixture
def google():
    pytest.importorskip("google.cloud.dataflow", reason="needs apache-beam[gcp]")
    made = Google()
    with serving(made.handler) as address:
        made.url = address.replace("127.0.0.1", "localhost")
        yield made


def preprocess(google, *flags):
    environ = os.environ | {
        "NO_GCE_CHECK": "true", "STORAGE_EMULATOR_HOST": google.url,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "exphil_tf.preprocess", *FLAGS, f"--dataflow_endpoint={google.url}",
         *flags],
        env=environ, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip


@pytest.mark.slow
def test_dataflow_takes_the_job(google):
    ended = preprocess(google, "--num-shards=7")
    assert ended.returncode == 0, ended.stderr
    assert "submitted" in ended.stdout
    ((path, job),) = google.jobs
    assert path == "/v1b3/projects/project/locations/us-central1/jobs"
    assert job["name"] == "preprocess"
    pools = job["environment"]["workerPools"]
    images = json.dumps(pools)
    assert "registry/exphil-tf-worker:1" in images
    (graph,) = [data for name, data in google.files.items() if name.endswith("pipeline.pb")]
    from apache_beam.portability.api import beam_runner_api_pb2

    pipeline = beam_runner_api_pb2.Pipeline.FromString(graph)
    names = " ".join(one.unique_name for one in pipeline.components.transforms.values())
    assert re.search("shard|Shard", names)
    assert "registry/exphil-tf-worker:1" in str(pipeline.components.environments)


@pytest.mark.slow
def test_dataflow_refusing_the_job_is_one_line(google):
    google.status = 403
    ended = preprocess(google)
    assert ended.returncode in (2, 74), ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("error: --runner=DataflowRunner")
    assert "a defect of this program" not in ended.stderr


@pytest.mark.slow
def test_a_template_is_made_instead(google):
    ended = preprocess(google, "--template_location=gs://bucket/templates/preprocess.json")
    assert ended.returncode == 0, ended.stderr
    assert google.jobs == []
    template = json.loads(google.files["templates/preprocess.json"])
    assert template["name"] == "preprocess"


def test_the_worker_has_the_version_of_the_job():
    text = (ROOT / "Dockerfile.worker").read_text()
    lock = (ROOT / "requirements/runtime.lock").read_text()
    (version,) = re.findall(r"^apache-beam==([\d.]+)", lock, flags=re.MULTILINE)
    assert set(re.findall(r"(?:sdk:|\[gcp\]==)([\d.]+)", text)) == {version}

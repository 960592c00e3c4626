"""A server that stands before another one and spoils some of what passes."""

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlparse

from tests.loopback import serving


class Faults:
    """What happens to requests; drawn by a seeded generator, each kind with its probability."""

    def __init__(self, *, refuse=0.0, cut=0.0, slow_s=0.0, stale=False, seed=0):
        self.refuse, self.cut, self.slow_s, self.stale = refuse, cut, slow_s, stale
        self.counts = {"refused": 0, "cut": 0, "stale": 0, "passed": 0}
        self.listings = {}
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self, probability):
        with self._lock:
            return self._random.random() < probability

    def count(self, what):
        with self._lock:
            self.counts[what] += 1


def _handler(target, faults):
    place = urlparse(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format, *args):
            pass

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(faults.slow_s)
            if faults.draw(faults.refuse):
                faults.count("refused")
                self.answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
                return
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            kept = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "connection", "transfer-encoding")
            ]
            if "list-type" in self.path and faults.stale:
                data = faults.listings.setdefault(self.path, data)
                faults.count("stale")
            if self.command == "GET" and len(data) > 64 and faults.draw(faults.cut):
                faults.count("cut")
                self.answer(answer.status, kept, data[: len(data) // 2], told=len(data))
                self.close_connection = True
                return
            faults.count("passed")
            self.answer(answer.status, kept, data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

        def answer(self, status, headers, data, told=None):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if told is None else told))
            self.end_headers()
            with contextlib.suppress(OSError):
                if self.command != "HEAD":
                    self.wfile.write(data)
                self.wfile.flush()

    return Handler


@contextlib.contextmanager
def proxy(target: str, faults: Faults) -> Iterator[str]:
    """The address of a proxy before `target` that spoils what `faults` says."""
    with serving(_handler(target, faults)) as address:
        yield address

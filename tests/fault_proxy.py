"""A server that stands before another one and spoils some of what passes."""

import collections
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
    """What happens to requests; drawn by a seeded generator, each kind with its probability.

    Threads take the draws in any order, so a place that was spoilt `IN_A_ROW` times is left alone
    once: whoever tries more often than that gets through, whatever is drawn.
    """

    IN_A_ROW = 2

    def __init__(self, *, refuse=0.0, cut=0.0, slow_s=0.0, stale=False, seed=0):
        self.refuse, self.cut, self.slow_s, self.stale = refuse, cut, slow_s, stale
        self.counts = {"refused": 0, "cut": 0, "stale": 0, "passed": 0}
        self.listings = {}
        self._spoilt = collections.Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self, path, **chances):
        """Which of these happens to a request for `path`; None for nothing."""
        with self._lock:
            drawn = [what for what, chance in chances.items() if self._random.random() < chance]
            if not drawn or self._spoilt[path] == self.IN_A_ROW:
                self._spoilt[path] = 0
                return None
            self._spoilt[path] += 1
            return drawn[0]

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
            fault = faults.draw(self.path, refused=faults.refuse, cut=faults.cut)
            if fault == "refused":
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
            if self.command == "GET" and len(data) > 64 and fault == "cut":
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

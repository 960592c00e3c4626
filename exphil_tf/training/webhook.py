"""A line to a chat when a run ends, meets NaN or stands still: a sink of the run's events.

The address is a secret (whoever has it may write there), so it comes from the environment alone,
`EXPHIL_WEBHOOK_URL`, and is in no log, error or file. Slack reads `text`, Discord `content`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

from exphil_tf.training.run_summary import duration

VARIABLE = "EXPHIL_WEBHOOK_URL"
STALL_S = 900.0
"""Silence after which a run is told to stand still, if its lines come more often."""
_log = logging.getLogger(__name__)


class Webhook:
    """Sends lines from a thread of its own.

    Args:
      url: of the webhook.
      name: of the run.
      stall_s: see `STALL_S`.
      finish_s: seconds that the last line gets.

    Raises: ValueError: if the address is none; it is not in the message.
    """

    def __init__(self, url: str, name: str, *, stall_s: float = STALL_S, finish_s: float = 10.0):
        if urlparse(url).scheme not in ("https", "http"):
            raise ValueError(f"{VARIABLE}: want a URL that begins with https://")
        self._url, self._name = url, name
        self._stall_s, self._finish_s = stall_s, finish_s
        self._queue: queue.Queue[str | None] = queue.Queue(maxsize=100)
        self._seen_s = time.monotonic()
        self._longest_s = 0.0
        self._is_compiled = self._has_ended = False
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def write(self, event: Mapping[str, Any]) -> None:
        """Takes one event; a line is sent for few."""
        now = time.monotonic()
        if self._is_compiled:
            self._longest_s = max(self._longest_s, now - self._seen_s)
        self._seen_s = now
        kind = event["event"]
        self._is_compiled |= kind == "compiled"
        if kind == "end":
            self._has_ended = True
            best = "" if event.get("best") is None else f", best {event['best']:.4f}"
            took = duration(event.get("seconds", 0.0))
            self._say(f"{event['reason']} at step {event['step']}{best}, {took}")
        elif kind == "note" and "NaN" in str(event.get("text", "")):
            self._say(f"step {event['step']}: {event['text']}")

    def close(self) -> None:
        """Sends what is left."""
        if not self._has_ended:
            self._say("stopped before its end")
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(self._finish_s)

    def _say(self, text: str) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(f"{self._name}: {text}")

    def _work(self) -> None:
        is_told = False
        while True:
            try:
                text = self._queue.get(timeout=min(5.0, self._stall_s / 4))
            except queue.Empty:
                silent_s = time.monotonic() - self._seen_s
                is_stalled = self._is_compiled and silent_s > max(
                    self._stall_s, 3 * self._longest_s
                )
                if is_stalled and not is_told:
                    self._send(f"{self._name}: stands still for {duration(silent_s)}")
                is_told = is_stalled
                continue
            if text is None:
                return
            self._send(text)

    def _send(self, text: str) -> None:
        data = json.dumps({"text": text, "content": text}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "exphil-tf"}
        try:
            request = urllib.request.Request(self._url, data=data, headers=headers)
            urllib.request.urlopen(request, timeout=self._finish_s).close()
        except Exception as error:  # of any kind: nobody waits for it, and it may name the URL
            _log.warning("the webhook does not answer: %s", type(error).__name__)

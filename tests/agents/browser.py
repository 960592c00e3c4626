"""A headless Chromium, driven over its debugging pipe in real time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
_FLAGS += ("--remote-debugging-pipe",)
_CONNECT = """
import os, sys
for given, wanted in zip(sys.argv[1:3], (3, 4)):  # where Chromium looks for the pipe
    os.dup2(int(given), wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """A page that is open.

    Attributes:
      complaints: of its console: errors, warnings, exceptions, breaches of its policy.
    """

    def __init__(self, commands: int, answers: int):
        self.complaints: list[Any] = []
        self._commands, self._answers = commands, answers
        self._rest, self._count, self._session = b"", 0, ""

    def open(self, path: Path) -> None:
        """Shows a file."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self._ask(f"{domain}.enable")
        self._ask("Page.navigate", url=path.as_uri())
        while self._message().get("method") != "Page.loadEventFired":
            pass

    def run(self, code: str) -> Any:
        """What an expression is, or comes to be."""
        done = self._ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        asked = {"id": self._count, "method": method, "params": params}
        asked |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(asked).encode() + b"\0")
        while (found := self._message()).get("id") != self._count:
            pass
        assert "result" in found, found
        return found["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._answers, 1 << 16)
            assert more, "Chromium has ended"
            self._rest += more
        one, self._rest = self._rest.split(b"\0", 1)
        found = json.loads(one)
        if _is_complaint(found):
            self.complaints.append(found["params"])
        return found


def _is_complaint(message: dict[str, Any]) -> bool:
    kind = message.get("method")
    if kind == "Runtime.consoleAPICalled":
        return message["params"]["type"] in ("error", "warning", "assert")
    return kind in ("Runtime.exceptionThrown", "Log.entryAdded")


@contextlib.contextmanager
def browser(path: Path, profile: Path) -> Iterator[Page]:
    """A page of a file in a Chromium of its own."""
    assert CHROMIUM is not None
    theirs, ours = os.pipe(), os.pipe()
    # Beyond the numbers that Chromium wants, so that none overwrites the other.
    reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs[0], ours[1]))

    process = subprocess.Popen(
        [sys.executable, "-c", _CONNECT, str(reads), str(writes), CHROMIUM, *_FLAGS]
        + [f"--user-data-dir={profile}"],
        pass_fds=(reads, writes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (theirs[0], ours[1], reads, writes):
        os.close(end)
    try:
        page = Page(theirs[1], ours[0])
        page.open(path)
        yield page
    finally:
        process.terminate()
        process.wait()
        os.close(theirs[1])
        os.close(ours[0])

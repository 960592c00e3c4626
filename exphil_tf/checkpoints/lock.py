"""One trainer per run folder: a file lock, and a note of who holds it.

The lock is the kernel's (`flock`), which a dead process gives back by dying, so nobody ever has to
delete a stale lock file. The note names the owner to whoever comes second. Its age also guards
folders on network volumes, where another host's `flock` may be invisible: a note of another host
that was touched in the last 90 s counts as held.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process import file_lock
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE

LOCK = "lock"
OWNER = "lock-owner.json"
HEARTBEAT_S = 20.0
FRESH_S = 90.0


@contextlib.contextmanager
def hold(run_dir: Path) -> Iterator[None]:
    """Holds a run folder for this process.

    Raises: UserError: (exit code 73) if another process holds it, naming its pid and host.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock.locked(run_dir / LOCK))
        except BlockingIOError:
            raise _held(run_dir, _read_owner(run_dir)) from None
        owner = _read_owner(run_dir)
        if _is_held_elsewhere(owner, run_dir):
            raise _held(run_dir, owner)
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%FT%T%z")}
        atomic.write_json(run_dir / OWNER, note)
        with _heartbeat(run_dir / OWNER):
            yield
        (run_dir / OWNER).unlink(missing_ok=True)


def is_held(run_dir: Path) -> bool:
    """Whether a living process seems to hold a run folder; takes no lock to find out."""
    owner = _read_owner(run_dir)
    if owner.get("host") != socket.gethostname():
        return _is_held_elsewhere(owner, run_dir)
    pid = owner.get("pid")
    return isinstance(pid, int) and pid > 0 and Path(f"/proc/{pid}").exists()


@contextlib.contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):
                path.touch()

    thread = threading.Thread(target=beat, name="lock-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _is_held_elsewhere(owner: dict[str, Any], run_dir: Path) -> bool:
    if not owner or owner.get("host") == socket.gethostname():
        return False
    return time.time() - (run_dir / OWNER).stat().st_mtime < FRESH_S


def _read_owner(run_dir: Path) -> dict[str, Any]:
    try:
        owner = json.loads((run_dir / OWNER).read_bytes())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _held(run_dir: Path, owner: dict[str, Any]) -> UserError:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
    return UserError(
        f"{run_dir}: {who} is using this run (since {owner.get('since', '?')})",
        "Wait for it, stop it, or choose another --name.",
        exit_code=EXIT_CANNOT_CREATE,
    )

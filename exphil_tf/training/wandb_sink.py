"""Weights & Biases as a sink of a run's events: online where there is a key, else offline.

The library runs in a process of its own (`wandb_writer`), fed by a thread: a server that hangs,
a key that is refused or a defect there cost the run its lines there and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from exphil_tf.training import wandb_writer
from exphil_tf.training.telemetry import Event, finite, scalars

_log = logging.getLogger(__name__)
_QUEUED = 1000


class WandB:
    """Hands a run's numbers to the process that speaks to Weights & Biases.

    Args:
      folder: for what `wandb sync` uploads.
      project: in Weights & Biases.
      run_id: of the run, so that a resumed run goes on with it.
      name: of the run; None for its id.
      hparams: the configuration.
      environ: of the process; `WANDB_API_KEY` is the key, `WANDB_MODE` outranks what follows of it.
      finish_s: seconds that it gets at the end.
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: str,
        run_id: str,
        name: str | None = None,
        hparams: Mapping[str, Any],
        environ: Mapping[str, str] | None = None,
        finish_s: float = 10.0,
    ):
        environ = dict(os.environ if environ is None else environ)
        self._finish_s, self._is_given_up = finish_s, False
        self._queue: queue.Queue[str | None] = queue.Queue(maxsize=_QUEUED)
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread
        self._process = subprocess.Popen(
            # By its file and without that file's folder among the modules: no name of ours is in
            # the library's way.
            [sys.executable, "-P", wandb_writer.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said,
            env=environ, start_new_session=True,  # Ctrl-C is the run's
        )  # fmt: skip
        options = {
            "dir": str(folder), "project": project, "name": name or run_id, "id": run_id,
            "config": finite(dict(hparams)), "mode": _mode(environ), "resume": "allow",
            "settings": {
                "disable_git": True, "disable_code": True, "silent": True, "console": "off",
            },
            "finish_s": finish_s,
        }  # fmt: skip
        self._queue.put(json.dumps(options, default=str))
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def write(self, event: Event) -> None:
        """Queues the event's numbers; if W&B hangs, they are dropped."""
        if not self._queue.full():
            row = {name: one for name, one in scalars(event).items() if math.isfinite(one)}
            self._queue.put_nowait(json.dumps({"step": int(event["step"]), "row": row}))

    def close(self) -> None:
        """Gives W&B some seconds to finish, then ends it."""
        if self._queue.full():
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()  # makes room: nobody else fills it
        self._queue.put_nowait(None)
        self._thread.join(timeout=self._finish_s)
        if self._thread.is_alive():
            self._is_given_up = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._thread.join(timeout=1.0)
            _log.warning("W&B does not answer; its last lines are lost")

    def _work(self) -> None:
        with self._said:
            with contextlib.suppress(BrokenPipeError), self._input() as lines:
                while (line := self._queue.get()) is not None:
                    lines.write(line.encode() + b"\n")
                    lines.flush()
            code = self._process.wait()
            if code and not self._is_given_up:
                self._said.seek(0)
                said = self._said.read()[-4096:].decode(errors="replace").strip().splitlines()
                text = said[-1] if said else f"it ended with code {code}"
                _log.warning("W&B: %s; training goes on without it", text)

    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


def _mode(environ: Mapping[str, str]) -> str:
    return environ.get("WANDB_MODE") or ("online" if environ.get("WANDB_API_KEY") else "offline")

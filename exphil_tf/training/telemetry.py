"""What a run tells while it runs: a JSONL log, TensorBoard, a console, and W&B if asked.

Each place is a *sink*. A sink that fails (disk full, no network, bad key) is closed with one
warning, and the run goes on: nothing here can stop it or make it wait.
"""

import contextlib
import functools
import json
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

_log = logging.getLogger(__name__)
Event = Mapping[str, Any]
"""`event` (start, compiled, train, validation, checkpoint, note, end), `step`, nested numbers."""


class Sink(Protocol):
    """One place that events go to."""

    def write(self, event: Event) -> None:
        """Takes one event; may raise, which closes the sink."""
        ...

    def close(self) -> None:
        """Writes what is left and lets go."""
        ...


class Telemetry:
    """Hands each event to every sink that still works."""

    def __init__(self, sinks: Sequence[Sink]):
        self._sinks = list(sinks)

    def write(self, event: str, *, step: int, **values: Any) -> None:
        """Tells all sinks; never raises."""
        record = {"event": event, "step": step, **values}
        for sink in tuple(self._sinks):
            try:
                sink.write(record)
            except Exception as error:  # whatever it is, the run goes on
                self._drop(sink, error)

    def close(self) -> None:
        """Closes every sink; never raises."""
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # as above
                _log.warning("%s: %s; its last lines are lost", type(sink).__name__, error)
        self._sinks = []

    def _drop(self, sink: Sink, error: Exception) -> None:
        self._sinks.remove(sink)
        _log.warning(
            "%s: %s; training goes on without it", type(sink).__name__, str(error).splitlines()[:1]
        )


class JsonLines:
    """One JSON object a line, appended and flushed at once, with the time in `time`."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: Event) -> None:
        """Appends one line; NaN and infinity become null."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **finite(event)}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoard:
    """Scalars by flattened name, and the configuration with its results as HParams."""

    def __init__(self, folder: Path, hparams: Mapping[str, Any]):
        self._writer = tf.summary.create_file_writer(str(folder))
        self._hparams = hparams

    def write(self, event: Event) -> None:
        """Writes the event's numbers at its step."""
        with self._writer.as_default(step=int(event["step"])):
            if event["event"] == "start":
                self._write_hparams()
            for name, value in scalars(event).items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()

    def _write_hparams(self) -> None:
        from tensorboard.plugins.hparams import api

        plain = {
            k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in self._hparams.items()
        }
        api.hparams(plain)


class WandB:
    """Weights & Biases: online where there is a key for it, else offline (`wandb sync` uploads).

    All of it happens in a thread of its own, its start too: a server that does not answer costs the
    run nothing but its lines there.

    Args:
      folder: for what `wandb sync` uploads.
      project: in Weights & Biases.
      run_id: of the run, so that a resumed run goes on with it.
      name: of the run; None for its id.
      hparams: the configuration.
      environ: of the process; `WANDB_API_KEY` is the key, `WANDB_MODE` outranks what follows of it.
      finish_s: seconds that it gets at the end.

    Raises: ImportError: if it is not installed.
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
        try:
            import wandb  # an optional extra  # type: ignore[import-not-found]
        except ImportError as error:
            raise ImportError("wandb is not installed; it is the extra `wandb`") from error
        environ = os.environ if environ is None else environ
        self._finish_s = finish_s
        self._queue: queue.Queue[Event | None] = queue.Queue(maxsize=1000)
        start = functools.partial(
            wandb.init, dir=str(folder), project=project, name=name or run_id, id=run_id,
            config=dict(hparams), mode=_wandb_mode(environ), resume="allow",
            settings={"disable_git": True, "disable_code": True, "silent": True},
        )  # fmt: skip
        self._thread = threading.Thread(target=self._work, args=(start,), name="wandb", daemon=True)
        self._thread.start()

    def write(self, event: Event) -> None:
        """Queues the event's numbers; if W&B hangs, they are dropped."""
        if not self._queue.full():
            self._queue.put_nowait(event)

    def close(self) -> None:
        """Gives W&B some seconds to finish."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(timeout=self._finish_s)
        if self._thread.is_alive():
            _log.warning("W&B does not answer; its last lines are lost")

    def _work(self, start: Callable[[], Any]) -> None:
        try:
            run = start()
            while (event := self._queue.get()) is not None:
                run.log(scalars(event), step=int(event["step"]))
            run.finish()
        except Exception as error:  # whatever it is, the run goes on
            text = (str(error).splitlines() or [type(error).__name__])[0]
            _log.warning("W&B: %s; training goes on without it", text)


def _wandb_mode(environ: Mapping[str, str]) -> str:
    return environ.get("WANDB_MODE") or ("online" if environ.get("WANDB_API_KEY") else "offline")


def scalars(event: Event) -> dict[str, float]:
    """Numbers of an event under TensorBoard's names, such as `train/nll/main_x`."""
    found: dict[str, float] = {}
    kind = str(event["event"])
    for key, value in event.items():
        if key not in ("event", "step"):
            _flatten(f"{kind}/{key}", value, found)
    return found


def _flatten(name: str, value: Any, found: dict[str, float]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(f"{name}/{key}", inner, found)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found[name] = float(value)


def finite(value: Any) -> Any:
    """The same value with NaN and infinity as None, which JSON can hold."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

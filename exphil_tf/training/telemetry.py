"""What a run tells while it runs: a JSONL log and TensorBoard; others are sinks of their own.

Each place is a *sink*. A sink that fails (disk full, no network, bad key) is closed with one
warning, and the run goes on: nothing here can stop it or make it wait.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
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

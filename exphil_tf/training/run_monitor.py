"""How a run goes, from its log and the machine alone: what a dashboard shows of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from exphil_tf.checkpoints.lock import OWNER
from exphil_tf.process.memory import (
    device_load,
    device_memory,
    machine_memory,
    resident_bytes,
)
from exphil_tf.training.run_files import CHECKPOINTS, LOG, read_json
from exphil_tf.training.run_summary import duration, summarise

_TAIL_BYTES = 1 << 20


def snapshot(run_dir: Path, *, lines: int) -> RenderableType:
    """A table of where a run stands, over the last lines of its log.

    Args:
      run_dir: its folder.
      lines: of the log.
    """
    one, events = summarise(run_dir), tail(run_dir / LOG)
    rows = {
        "run": str(run_dir),
        "state": one.in_words(),
        **progress(events),
        **_checkpoints(run_dir),
        **_memory(run_dir),
    }
    table = Table("what", "now", show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return Group(table, *(in_words(event) for event in events[len(events) - lines :]))


def tail(path: Path) -> list[dict[str, Any]]:
    """The last events of a log, without lines that are none, such as one half written."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            # No more than was there: a log may grow, or be a device without end.
            found = [_event(line) for line in file.read(_TAIL_BYTES).splitlines()]
    except OSError:
        return []
    return [event for event in found if event]


def progress(events: list[dict[str, Any]]) -> dict[str, str]:
    """Frames a second, loss, what is left: of the newest event that tells."""
    train = next((e for e in reversed(events) if e["event"] == "train"), {})
    validation = next((e for e in reversed(events) if e["event"] == "validation"), {})
    rows: dict[str, str] = {}
    if train:
        rows["step"] = f"{_number(train, 'step'):,.0f}, epoch {_number(train, 'epoch'):.2f}"
        rows["speed"] = f"{_number(train, 'frames_per_s'):,.0f} frames/s"
        rows["input wait"] = f"{_number(train, 'input_wait'):.1%}"
        rows["left"] = duration(_number(train, "eta_s"))
        if "goodput" in train:
            rows["goodput"] = f"{_number(train, 'goodput'):.1%}"
    for name, event in (("training", train), ("validation", validation)):
        losses = [key for key in event if key in _LOSSES and event[key] is not None]
        if losses:
            rows[name] = ", ".join(f"{key} {_number(event, key):.4f}" for key in losses)
    return rows


def _number(event: Mapping[str, Any], key: str) -> float:
    """Of an event; 0 where it tells none, or a damaged log something else."""
    value = event.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


_LOSSES = ("nll_total", "loss", "accuracy", "error")


def _checkpoints(run_dir: Path) -> dict[str, str]:
    """The newest checkpoint and its age."""
    found = sorted((run_dir / CHECKPOINTS).glob("step-*"))
    try:
        age_s = max(0.0, time.time() - found[-1].stat().st_mtime)
    except (IndexError, OSError):
        return {"checkpoints": "none yet"}
    return {"checkpoints": f"{len(found)}, {found[-1].name} {duration(age_s)} ago"}


def _memory(run_dir: Path) -> dict[str, str]:
    pid = read_json(run_dir / OWNER).get("pid")
    rows: dict[str, str] = {}
    resident = resident_bytes(pid) if isinstance(pid, int) else None
    if resident is not None:
        rows["memory"] = f"{resident / (1 << 30):.1f} GiB resident, process {pid}"
    if (machine := machine_memory()) is not None:
        free, total = (size / (1 << 30) for size in machine)
        rows["machine"] = f"{free:.1f} of {total:.1f} GiB free"
    for number, (used, total) in enumerate(device_memory()):
        share = f"{used / (1 << 30):.1f}/{total / (1 << 30):.1f} GiB ({used / total:.0%})"
        rows[f"GPU {number}"] = share
    for number, (busy, degrees) in enumerate(device_load()):
        if f"GPU {number}" in rows:
            rows[f"GPU {number}"] += f", {busy}% busy, {degrees} °C"
    return rows


def in_words(event: Mapping[str, Any]) -> str:
    """One line of the log without its nested numbers."""
    time = str(event.get("time", ""))[11:19]
    plain = {k: v for k, v in event.items() if not isinstance(v, dict) and k not in ("time",)}
    words = [f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in plain.items()]
    return f"{time} {' '.join(words)}"


def _event(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and "event" in value else {}

"""The learning curves of a run's log, for the report."""

import json
from pathlib import Path
from typing import Any

from exphil_tf.evaluation.results import Curve

LOG_NAME = "log.jsonl"
EVENTS = ("train", "validation")


def read_curves(path: Path) -> dict[str, Curve]:
    """NLL of the whole action by step, for each of `EVENTS` that occurs.

    A resumed run repeats steps: the last line of a step counts. Lines that are cut off, as by a
    kill, are left out; without a file there are no curves.
    """
    found: dict[str, dict[int, float]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            event = _parse(line)
            kind, step, nll = event.get("event"), event.get("step"), event.get("nll_total")
            if kind in EVENTS and isinstance(step, int) and isinstance(nll, float):
                found.setdefault(str(kind), {})[step] = nll
    return {
        kind: Curve(sorted(found[kind]), [found[kind][step] for step in sorted(found[kind])])
        for kind in EVENTS
        if kind in found
    }


def _parse(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}

"""The learning curves of a run's log, for the report."""

import json
from pathlib import Path
from typing import Any

from exphil_tf.evaluation.results import Curve

LOG_NAME = "log.jsonl"
EVENTS = ("train", "validation")


def read_curves(path: Path, component: str | None = None) -> dict[str, Curve]:
    """NLL by step, for each of `EVENTS` that occurs.

    A resumed run repeats steps: the last line of a step counts. Lines that are cut off, as by a
    kill, are left out; without a file there are no curves.

    Args:
      path: of the log.
      component: of the action; None for all of it.
    """
    found: dict[str, dict[int, float]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            event = _parse(line)
            kind, step, nll = event.get("event"), event.get("step"), _nll(event, component)
            if kind in EVENTS and isinstance(step, int) and isinstance(nll, float):
                found.setdefault(str(kind), {})[step] = nll
    return {
        kind: Curve(sorted(found[kind]), [found[kind][step] for step in sorted(found[kind])])
        for kind in EVENTS
        if kind in found
    }


def _nll(event: dict[str, Any], component: str | None) -> object:
    parts = event.get("nll")
    if component is None:
        return event.get("nll_total")
    return parts.get(component) if isinstance(parts, dict) else None


def _parse(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}

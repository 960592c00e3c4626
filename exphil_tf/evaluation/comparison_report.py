"""Several policies side by side as files: `comparison.json`, one `comparison.html`, links to games.

The page needs nothing from outside itself but the games' pages beside it. Both files appear whole
or not at all.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exphil_tf.evaluation import comparison, figures
from exphil_tf.evaluation.report import MOST_MATCHUPS, template
from exphil_tf.evaluation.results import COMPONENT_TITLES, Curve
from exphil_tf.evaluation.side_by_side import SideBySide
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation import atomic

JSON_NAME = "comparison.json"
PAGE_NAME = "comparison.html"
FORMAT = 1
"""Raised when a figure of `comparison.json` changes its name or meaning."""
MOST_GAMES = 30
"""Games that a page lists."""

Pages = Mapping[str, Mapping[str, str]]
"""Game → policy → address of a page of it, from the report's folder."""


def to_json(found: SideBySide, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a comparison.

    Args:
      found: what was measured.
      facts: on what.
    """
    return {
        "format": FORMAT,
        "measured_on": dict(facts),
        "policies": comparison.to_json(found.policies),
        "baselines": comparison.to_json(found.baselines),
        "matchups": {
            name: [dataclasses.asdict(row) for row in one.metrics.matchups]
            for name, one in found.policies.items()
        },
        "games": [
            {**dataclasses.asdict(game), "difference": game.difference} for game in found.games
        ],
    }


def notes(found: SideBySide) -> list[str]:
    """What to keep in mind when reading the table, in sentences."""
    told = []
    buckets = {one.facts.get("axis_buckets") for one in found.policies.values()}
    delays = {one.facts.get("frame_delay") for one in found.policies.values()}
    if len(buckets) > 1:
        told.append("Their stick buckets differ: whoever tells fewer apart has fewer nats for it.")
    if len(delays) > 1:
        told.append("Their delays differ: whoever answers later has the harder task.")
    top = next(iter(found.everything))
    if top in found.baselines:
        told.append(f"None predicts better than {top}, which knows the previous action only.")
    return told


def page(
    found: SideBySide,
    facts: Mapping[str, Any],
    *,
    curves: Mapping[str, Mapping[str, Curve]],
    pages: Pages,
) -> str:
    """The HTML page.

    Args:
      found: what was measured.
      facts: on what.
      curves: of the runs' training, by policy.
      pages: of games.
    """
    drawn = {
        "bars": figures.side_by_side_bars(found.everything),
        "axes": figures.axis_use(found.policies),
        "training": figures.curves_side_by_side(curves),
    }
    rows = comparison.matchups(found.policies)
    return template("comparison.html.j2").render(
        everything=found.everything,
        policies=found.policies,
        components=COMPONENTS,
        titles=COMPONENT_TITLES,
        facts=facts,
        notes=notes(found),
        figures=drawn,
        matchups=rows[:MOST_MATCHUPS],
        num_matchups=len(rows),
        games=found.games[:MOST_GAMES],
        num_games=len(found.games),
        pages=pages,
        frames=next(iter(found.policies.values())).metrics.frames,
    )


def write(
    found: SideBySide,
    facts: Mapping[str, Any],
    directory: Path,
    *,
    curves: Mapping[str, Mapping[str, Curve]],
    pages: Pages,
) -> tuple[Path, Path]:
    """Writes both files into a folder, which is made if missing; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / JSON_NAME, directory / PAGE_NAME
    text = json.dumps(to_json(found, facts), indent=1, allow_nan=False) + "\n"
    for path, content in zip(
        paths, (text, page(found, facts, curves=curves, pages=pages)), strict=True
    ):
        atomic.write_bytes(path, content.encode())
    return paths

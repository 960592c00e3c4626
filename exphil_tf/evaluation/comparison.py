"""Several policies on the same frames: what one gains over another, as a table, as JSON, as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from exphil_tf.evaluation.results import Measured, PolicyMetrics
from exphil_tf.features.controller import COMPONENTS

_IDENTITY = (
    "run", "form", "backbone", "parameters", "weights_sha256", "measured_on", "frame_delay",
    "axis_buckets",
)  # fmt: skip
ALL = "all"
"""In place of a character or stage, where a row is of all of them."""


def to_json(policies: Mapping[str, Measured]) -> dict[str, Any]:
    """Plain values by policy: nats per frame by component and of the whole action, and identity.

    Args:
      policies: by name.
    """
    return {
        name: {
            **{key: found.facts[key] for key in _IDENTITY if key in found.facts},
            "frames": found.metrics.frames,
            "nll": found.metrics.nll,
            "components": {name: found.metrics.components[name].nll for name in COMPONENTS},
            "score": found.metrics.score,
            "macro_f1": found.metrics.macro_f1,
            "press_rate_gap": found.metrics.press_rate_gap,
        }
        for name, found in policies.items()
    }


def gained(policies: Mapping[str, Measured], *, of: str, over: str) -> str:
    """One sentence: how far `of` lies below `over`, and how much of the way to the teacher that is.

    Args:
      policies: by name.
      of: name of one policy.
      over: name of another; with a `teacher` between whom and it there is a gap, its share is told.
    """
    one, two = policies[of].metrics.nll, policies[over].metrics.nll
    word = "below" if one <= two else "above"
    text = f"{of}: {abs(two - one):.4f} nats per frame ({abs(two - one) / two:.1%}) {word} {over}"
    teacher = policies.get("teacher")
    if teacher is not None and one < two and teacher.metrics.nll < two:
        share = (two - one) / (two - teacher.metrics.nll)
        text += f", {share:.0%} of the way to the teacher"
    return text


def table(policies: Mapping[str, Measured]) -> Table:
    """A row per policy: nats per frame, whole and by component, and what stands beside them.

    The best of a column is bold.
    """
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    rows.add_column("nats per frame", no_wrap=True, overflow="ellipsis")
    titles = (*(name.replace("_", " ") for name in COMPONENTS), "score", "macro-F1", "press gap")
    for title in ("whole", *titles, "parameters"):
        rows.add_column(title, justify="right", no_wrap=True)
    values = {name: _row(found.metrics) for name, found in policies.items()}
    best = [best_of(column) for best_of, column in zip(_BEST, zip(*values.values(), strict=True),
                                                       strict=True)]  # fmt: skip
    for name, row in values.items():
        cells = [
            Text(form.format(v), "bold" if v == m else "")
            for form, v, m in zip(_FORMS, row, best, strict=True)
        ]
        parameters = policies[name].facts.get("parameters")
        rows.add_row(name, *cells, "" if parameters is None else f"{parameters:,}")
    return rows


def matchup_table(policies: Mapping[str, Measured], *, most: int = 12) -> Table:
    """A row per matchup, most frames first: nats per frame of each policy.

    Args:
      policies: by name.
      most: rows to show.
    """
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    rows.add_column("matchup", no_wrap=True)
    rows.add_column("stage", no_wrap=True)
    rows.add_column("frames", justify="right", no_wrap=True)
    for name in policies:
        rows.add_column(name, justify="right", no_wrap=True, overflow="ellipsis")
    for (character, opponent, stage), frames, nats in matchups(policies)[:most]:
        least = min(nats.values())
        cells = [
            Text(f"{nats[n]:.4f}", "bold" if nats[n] == least else "") if n in nats else ""
            for n in policies
        ]
        rows.add_row(f"{character} – {opponent}", stage, f"{frames:,}", *cells)
    return rows


Matchup = tuple[tuple[str, str, str], int, dict[str, float]]


def matchups(policies: Mapping[str, Measured]) -> list[Matchup]:
    """(Character, opponent, stage), frames and nats by policy of each matchup, most frames first.

    Args:
      policies: by name; of the same frames.
    """
    found: dict[tuple[str, str, str], Matchup] = {}
    for name, one in policies.items():
        for row in one.metrics.matchups:
            key = (row.character, row.opponent, row.stage)
            _, frames, nats = found.get(key, (key, row.frames, {}))
            found[key] = (key, frames, nats | {name: row.nll})
    return sorted(found.values(), key=lambda row: (-row[1], row[0]))


def to_csv(policies: Mapping[str, Measured]) -> str:
    """A line per policy and matchup, and one of all frames: what spreadsheets open."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{what}_{name}" for what in ("nats", "accuracy") for name in COMPONENTS]
    who = ["policy", "character", "opponent", "stage"]
    writer.writerow([*who, "frames", "nats", "score", *parts])
    for name, found in policies.items():
        for row in _csv_rows(found.metrics):
            writer.writerow([name, *row])
    return text.getvalue()


def _csv_rows(metrics: PolicyMetrics) -> Iterator[list[object]]:
    parts = metrics.components.values()
    figures = [*(part.nll for part in parts), *(part.accuracy for part in parts)]
    yield [ALL, ALL, ALL, metrics.frames, metrics.nll, metrics.score, *figures]
    for row in metrics.matchups:
        figures = [*row.components.values(), *row.accuracy.values()]
        where = [row.character, row.opponent, row.stage]
        yield [*where, row.frames, row.nll, row.score, *figures]


_FORMS = (*["{:.4f}"] * (1 + len(COMPONENTS)), "{:.3f}", "{:.3f}", "{:.2%}")
_BEST = (*[min] * (1 + len(COMPONENTS)), max, max, min)


def _row(metrics: PolicyMetrics) -> list[float]:
    nll = [metrics.components[name].nll for name in COMPONENTS]
    return [metrics.nll, *nll, metrics.score, metrics.macro_f1 or 0.0, metrics.press_rate_gap]

"""An evaluation as files: `evaluation.json` for programs, one self-contained `evaluation.html`.

The page needs nothing from outside itself: no script, no font, no picture by address. It follows
the reader's light or dark setting. Both files appear whole or not at all.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jinja2

from exphil_tf.evaluation import figures
from exphil_tf.evaluation.baselines import NAMES
from exphil_tf.evaluation.findings import findings
from exphil_tf.evaluation.results import COMPONENT_TITLES, Evaluation
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation import atomic

_HERE = Path(__file__).parent
JSON_NAME = "evaluation.json"
PAGE_NAME = "evaluation.html"
MOST_MATCHUPS = 60
"""Rows of a page's table; `evaluation.json` and `--csv` have all."""
FORMAT = 3
"""Raised when a figure of `evaluation.json` changes its name or meaning."""


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Plain values of an evaluation; figures that are undefined are null, never NaN."""
    plain = dataclasses.asdict(evaluation)
    return {"format": FORMAT, **plain, "findings": [f.text for f in findings(evaluation)]}


def template(name: str, *, folder: Path = _HERE) -> jinja2.Template:
    """A page's template; whatever is put in is escaped.

    Args:
      name: of its file.
      folder: where it lies; this package lends it what it includes, as the style.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "ratio": _ratio}
    return environment.get_template(name)


def page(evaluation: Evaluation) -> str:
    """The HTML page."""
    policy, best = evaluation.policy, evaluation.best_baseline()
    return template("report.html.j2").render(
        evaluation=evaluation,
        policy=policy,
        title=evaluation.provenance["run"],
        measured_on=evaluation.provenance["measured_on"],
        baselines=NAMES,
        best=best,
        components=COMPONENTS,
        titles=COMPONENT_TITLES,
        wins=sum(evaluation.beats_baselines(component) for component in COMPONENTS),
        hardest=max((row.nll for row in policy.characters), default=1.0) or 1.0,
        matchups=policy.matchups[:MOST_MATCHUPS],
        findings=findings(evaluation),
        figures=_figures(evaluation),
    )


def write(evaluation: Evaluation, directory: Path) -> tuple[Path, Path]:
    """Writes both files into `directory`, which is made if missing; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / JSON_NAME, directory / PAGE_NAME
    text = json.dumps(to_json(evaluation), indent=1, allow_nan=False)
    for path, content in zip(paths, (text + "\n", page(evaluation)), strict=True):
        atomic.write_bytes(path, content.encode())
    return paths


def _figures(evaluation: Evaluation) -> dict[str, str]:
    policy, best = evaluation.policy, evaluation.best_baseline()
    drawn = {
        "nll": figures.nll_bars(evaluation),
        "press": figures.press_rates(policy),
        "sticks": figures.sticks(policy),
        "confusion": figures.confusion(policy),
        "calibration": figures.calibration(policy),
        "win": "" if evaluation.win is None else figures.win_reliability(evaluation.win),
        "training": "",
    }
    if evaluation.curves:
        curves = evaluation.curves
        drawn["training"] = figures.training_curves(curves, evaluation.nll(best), f"{best} (here)")
    drawn["parts"] = figures.component_curves(evaluation.component_curves)
    return drawn


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

"""Several policies on the same frames: what one gains over another, as a table and as JSON."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from exphil_tf.evaluation.results import COMPONENT_TITLES, Evaluation


def to_json(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Plain values by policy: nats per frame by component and of the whole action, and identity.

    Args:
      evaluations: by name; all of the same frames.

    Raises: ValueError: if they were not measured on the same number of frames.
    """
    frames = {evaluation.policy.frames for evaluation in evaluations.values()}
    if len(frames) != 1:
        raise ValueError(f"comparison: want the same frames for all. Received: {sorted(frames)}")
    keys = ("run", "backbone", "parameters", "weights_sha256", "measured_on", "frame_delay")
    return {
        name: {
            **{key: found.provenance[key] for key in keys},
            "frames": found.policy.frames,
            "nll": found.policy.nll,
            "components": {name: found.policy.components[name].nll for name in COMPONENT_TITLES},
            "press_rate_gap": found.policy.press_rate_gap,
        }
        for name, found in evaluations.items()
    }


def gained(evaluations: Mapping[str, Evaluation], *, of: str, over: str) -> str:
    """One sentence: how far `of` lies below `over`, and how much of the way to the teacher that is.

    Args:
      evaluations: by name.
      of: name of one policy.
      over: name of another; with a `teacher` between whom and it there is a gap, its share is told.
    """
    one, two = evaluations[of].policy.nll, evaluations[over].policy.nll
    word = "below" if one <= two else "above"
    text = f"{of}: {abs(two - one):.4f} nats per frame ({abs(two - one) / two:.1%}) {word} {over}"
    teacher = evaluations.get("teacher")
    if teacher is not None and one < two and teacher.policy.nll < two:
        share = (two - one) / (two - teacher.policy.nll)
        text += f", {share:.0%} of the way to the teacher"
    return text


def table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Nats per frame, a row per component and a column per policy; the least of a row in bold."""
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    rows.add_column("", no_wrap=True)
    for name in evaluations:
        rows.add_column(name, justify="right", no_wrap=True)
    for component, label in (*COMPONENT_TITLES.items(), (None, "Whole action")):
        values = [found.nll("policy", component) for found in evaluations.values()]
        if component is None:
            rows.add_section()
        cells = (Text(f"{v:.4f}", "bold" if v == min(values) else "") for v in values)
        rows.add_row(label, *cells)
    sizes = (f"{found.provenance['parameters']:,}" for found in evaluations.values())
    rows.add_row("Parameters", *sizes)
    return rows

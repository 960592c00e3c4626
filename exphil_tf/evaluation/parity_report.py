"""What a comparison of forms found: figures, judgement, as JSON and as tables."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from exphil_tf.evaluation import checks
from exphil_tf.evaluation.checks import Check
from exphil_tf.features.controller import COMPONENTS

_COMPONENTS = {name: name.replace("_", " ") for name in COMPONENTS}
FORMAT = 2
"""Raised when a figure of `parity.json` changes its name or meaning."""


@dataclass(frozen=True)
class ComponentParity:
    """One component of the action."""

    nll: float
    """Nats per frame of the human's action."""
    relative_nll: float
    """Its increase over the baseline's, as a share."""
    agreement: float | None
    """Share of frames with the reference's likeliest action (buttons: all eight); None without a
    reference."""
    agreement_each: float | None
    """Likewise of every button by itself; equal to `agreement` for the other components."""


@dataclass(frozen=True)
class FormParity:
    """One form on whole games, teacher-forced; differences are to its reference."""

    reference: str
    nll: float
    """Nats per frame of the human's whole action."""
    relative_nll: float
    components: dict[str, ComponentParity]
    max_logit_difference: float | None
    mean_logit_difference: float | None


@dataclass(frozen=True)
class Drift:
    """One form along a game in which its memory is never emptied."""

    frames: tuple[int, ...]
    """Where the memory was looked at."""
    differences: tuple[float, ...]
    """Largest difference to the reference's memory there; empty without a reference."""
    max_logits: tuple[float, ...]
    """Largest |logit| since the look before."""


@dataclass(frozen=True)
class ParityReport:
    """How alike the forms of a policy play."""

    frames: int
    """Counted frames of the whole games."""
    baseline: str
    """The form whose likelihood the others' is held against."""
    forms: dict[str, FormParity]
    drift: dict[str, Drift]
    checks: tuple[Check, ...]

    @property
    def is_met(self) -> bool:
        """Whether everything asked for holds."""
        return all(check.is_met for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `parity.json` holds them."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


def show(console: Console, report: ParityReport) -> None:
    """Prints the tables, which fit 80 columns, and what was asked for."""
    console.print(f"{report.frames:,} frames of whole games, teacher-forced", markup=False)
    console.print(_nll_table(report), "", _agreement_table(report), sep="\n")
    pairs = [f"{name} as {form.reference}" for name, form in report.forms.items() if form.reference]
    console.print(f"({'; '.join(pairs)})", "", sep="\n", markup=False)
    if report.drift:
        console.print(_drift_table(report), "", sep="\n")
    checks.show(console, report.checks)


def _empty(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _nll_table(report: ParityReport) -> Table:
    """Nats per frame by component, and what the whole action loses against the baseline."""
    table = _empty("nats per frame", *_COMPONENTS.values(), "whole", "loss %")
    for name, form in report.forms.items():
        nll = [f"{form.components[component].nll:.4f}" for component in _COMPONENTS]
        table.add_row(name, *nll, f"{form.nll:.4f}", f"{100 * form.relative_nll:+.2f}")
    return table


def _agreement_table(report: ParityReport) -> Table:
    """Likeliest actions and the largest difference of a logit, against each form's reference.

    "each" counts every button by itself, "buttons" all eight at once.
    """
    table = _empty("same choice, %", "each", *_COMPONENTS.values(), "|Δlogit|")
    for name, form in report.forms.items():
        if form.reference:
            found = [form.components[component].agreement for component in _COMPONENTS]
            shares = [form.components["buttons"].agreement_each, *found]
            cells = [f"{100 * (share or 0.0):.2f}" for share in shares]
            table.add_row(name, *cells, f"{form.max_logit_difference:.1e}")
    return table


def _drift_table(report: ParityReport) -> Table:
    """The memory along the long game: after a tenth of it, half and all; logits by half."""
    frames = next(iter(report.drift.values())).frames
    looks = sorted({max(len(frames) // part, 1) - 1 for part in (10, 2, 1)})
    names = [f"{frames[look]:,}" for look in looks]
    table = _empty("|Δmemory| after frame", *names, "max |logit|, 1st half", "2nd")
    half = max(len(frames) // 2, 1)
    for name, drift in report.drift.items():
        found = drift.differences
        differences = [f"{found[look]:.1e}" if found else "" for look in looks]
        first, second = drift.max_logits[:half], drift.max_logits[half:] or drift.max_logits
        table.add_row(name, *differences, f"{max(first):.2f}", f"{max(second):.2f}")
    return table

"""A comparison of architectures as tables, as JSON and as one self-contained page."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from exphil_tf.benchmarking import architecture_figures
from exphil_tf.benchmarking.architecture_training import Trained
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.evaluation.report import template
from exphil_tf.evaluation.results import COMPONENT_TITLES
from exphil_tf.foundation import atomic

FORMAT = 1
"""Raised when a figure of `architectures.json` changes its name or meaning."""
_DIGITS = 4
"""Of nats: neighbours in a ranking differ in the third."""
JSON_NAME, PAGE_NAME = "architectures.json", "architectures.html"


@dataclass(frozen=True)
class Latency:
    """Microseconds of a frame, one row on one thread."""

    p50: float
    p99: float
    best_p50: float
    """Of the fastest round: what an idle machine would show."""


@dataclass(frozen=True)
class Row:
    """An architecture's figures."""

    name: str
    trained: Trained
    nll: float
    """Nats per frame of the whole action on the validation split."""
    measured_frames: int
    components: Mapping[str, float]
    latency: Mapping[str, Latency]
    """By precision."""

    @property
    def frames_per_s(self) -> float:
        """Labelled frames that training learnt from, per second of wall time."""
        return self.trained.frames / max(self.trained.wall_s, 1e-9)

    @property
    def frames_per_cpu_s(self) -> float:
        """The same per second of processor time, which a busy machine changes less."""
        return self.trained.frames / max(self.trained.cpu_s, 1e-9)


@dataclass(frozen=True)
class Baseline:
    """What costs no network."""

    name: str
    nll: float
    components: Mapping[str, float]


@dataclass(frozen=True)
class Failure:
    """An architecture that has no figures."""

    name: str
    stage: str
    code: int
    """With which its process ended."""
    text: str
    """The last that it said."""
    command: str

    @property
    def sentence(self) -> str:
        """What failed, how and why."""
        return f"{self.stage} ended with {self.code}: {self.text}"


@dataclass(frozen=True)
class ArchitectureReport:
    """Architectures that were trained alike, on the same frames."""

    machine: Mapping[str, Any]
    load: float
    is_busy: bool
    """Others used the machine: times are upper limits."""
    options: Mapping[str, Any]
    manifest_sha256: str
    git_commit: str
    rows: list[Row]
    baselines: list[Baseline]
    failures: list[Failure]

    @property
    def ranked(self) -> list[Row]:
        """The best first."""
        return sorted(self.rows, key=lambda row: row.nll)

    @property
    def best_baseline(self) -> Baseline:
        """The one with the lowest NLL."""
        return min(self.baselines, key=lambda baseline: baseline.nll)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `architectures.json` holds them."""
        plain = dataclasses.asdict(self)
        rates = {
            row.name: {"frames_per_s": row.frames_per_s, "frames_per_cpu_s": row.frames_per_cpu_s}
            for row in self.rows
        }
        plain["rows"] = [
            {**dataclasses.asdict(row), **rates[row.name], "rank": rank}
            for rank, row in enumerate(self.ranked, 1)
        ]
        return {"format": FORMAT, **plain}


def ranking(report: ArchitectureReport) -> Report:
    """The best first, with what it costs."""
    rows = {
        row.name: {
            "nats/frame": row.nll,
            "width": float(row.trained.hidden[-1]),
            "parameters": float(row.trained.parameters),
            "updates": float(row.trained.updates),
            "CPU-s": row.trained.cpu_s,
            "frames/s": row.frames_per_s,
            "frames/CPU-s": row.frames_per_cpu_s,
            "peak MB": row.trained.peak_bytes / 1e6,
            "float µs": row.latency["float32"].p50,
            "INT8 µs": row.latency["int8-static"].p50,
        }
        for row in report.ranked
    }
    columns = tuple(next(iter(rows.values())))
    frames = report.rows[0].measured_frames
    notes = [
        f"nats per frame of the whole action on {frames:,} frames of the validation split; "
        f"{report.best_baseline.name}, the best baseline: {report.best_baseline.nll:.3f}"
    ]
    if report.is_busy:
        notes.append(f"load average {report.load:.1f}: others use this machine, times are limits")
    return Report("Architectures", columns, rows, tuple(notes), digits=_DIGITS)


def by_component(report: ArchitectureReport) -> Report:
    """Nats per frame of each component, baselines below."""
    found = [*report.ranked, *sorted(report.baselines, key=lambda baseline: baseline.nll)]
    return Report(
        "Nats per frame by component",
        tuple(COMPONENT_TITLES.values()),
        {
            one.name: {title: one.components[name] for name, title in COMPONENT_TITLES.items()}
            for one in found
        },
        digits=_DIGITS,
    )


def show(console: Console, report: ArchitectureReport) -> None:
    """Prints both tables, and what failed."""
    console.print(ranking(report).table(), by_component(report).table(), sep="\n")
    for failure in report.failures:
        console.print(f"{failure.name}: {failure.sentence}")
        console.print(f"  {failure.command}")


def write(report: ArchitectureReport, folder: Path) -> tuple[Path, Path]:
    """Writes figures and page into `folder`, which is made if missing; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / JSON_NAME, report.to_dict())
    atomic.write_bytes(folder / PAGE_NAME, page(report).encode())
    return folder / JSON_NAME, folder / PAGE_NAME


def page(report: ArchitectureReport) -> str:
    """The HTML page; it needs nothing from outside itself."""
    curves = {row.name: row.trained.curve for row in report.ranked}
    level = report.best_baseline.nll, report.best_baseline.name
    places = {
        f"{row.name} {'INT8' if precision != 'float32' else 'float'}": (latency.p50, row.nll)
        for row in report.ranked
        for precision, latency in row.latency.items()
    }
    return template("architectures.html.j2", folder=Path(__file__).parent).render(
        report=report,
        titles=COMPONENT_TITLES,
        frames=report.rows[0].measured_frames,
        figures={
            "cpu": architecture_figures.curves(curves, level, by="cpu_s"),
            "frames": architecture_figures.curves(curves, level, by="frames"),
            "latency": architecture_figures.latency(places),
        },
    )

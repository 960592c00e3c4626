"""What was timed: the floor of each form, judgement, as JSON, as tables and as a picture."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from exphil_tf.benchmarking.frame_timing import Cell, Timing
from exphil_tf.benchmarking.op_profile import Profile
from exphil_tf.evaluation import checks
from exphil_tf.evaluation.checks import Check
from exphil_tf.foundation import atomic

if TYPE_CHECKING:  # libmelee takes a second to import
    from exphil_tf.benchmarking.live_timing import LiveTiming

FORMAT = 1
"""Raised when a figure of `latency.json` changes its name or meaning."""
JSON_NAME, PLOT_NAME = "latency.json", "latency.png"

TARGET_P50_US, TARGET_P99_US = 200.0, 600.0
"""Whole frame, one row, one thread; set for two Mamba layers of width 256 and state 16."""
TARGET_LIVE_P99_US = 2000.0
"""Of live play, from the game's state to the controller's pipe."""
LEAST_SPEEDUP = 1.5
"""Of quantized weights over float32."""
GREATEST_FLOORS = 3.0
"""Greatest median in multiples of the floor."""
_SHOWN_OPS = 12


@dataclass(frozen=True)
class Floor:
    """The least that a frame of one row can take, µs."""

    weight_bytes: int
    overhead_us: float
    """Of a call."""
    cache_gb_per_s: float
    dram_gb_per_s: float

    @property
    def warm_us(self) -> float:
        """With weights in the cache."""
        return self.overhead_us + self.weight_bytes / self.cache_gb_per_s / 1e3

    @property
    def cold_us(self) -> float:
        """With weights in memory."""
        return self.overhead_us + self.weight_bytes / self.dram_gb_per_s / 1e3


@dataclass(frozen=True)
class LatencyReport:
    """Forms of a policy, timed in one run."""

    machine: Mapping[str, Any]
    load: tuple[float, float]
    """Load average before and after."""
    is_busy: bool
    """Others used the machine: figures are upper limits."""
    precisions: Mapping[str, str]
    """Form → how its weights are held."""
    floors: Mapping[str, Floor]
    warm: Mapping[Cell, Timing]
    cold: Mapping[Cell, Timing]
    """With empty caches; empty if not measured."""
    paced: Mapping[Cell, Timing]
    """At 60 calls a second; empty if not measured."""
    profiles: Mapping[str, Profile]
    live: "Mapping[str, LiveTiming]" = field(default_factory=dict)
    """Form → play's whole part of a frame; empty if not measured."""

    def of_one(self, form: str, *, is_cold: bool = False) -> Timing | None:
        """A form's timing of one row on one thread, if there is one."""
        return (self.cold if is_cold else self.warm).get(Cell(form, 1, 1))

    def forms_of(self, precision: str) -> list[str]:
        """Forms of a precision."""
        return [form for form, held in self.precisions.items() if held == precision]

    def checks(self) -> tuple[Check, ...]:
        """What is asked of int8 by training, one row on one thread, and of every form live."""
        shipped = [check for form in self.forms_of("int8-qat") for check in _checks(self, form)]
        text = "p99 of a live frame in processor µs at most"
        live = [
            Check.at_most(form, text, value=timing.cpu_p99, limit=TARGET_LIVE_P99_US)
            for form, timing in self.live.items()
        ]
        return (*shipped, *live)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `latency.json` holds them."""
        return {
            "format": FORMAT,
            "machine": dict(self.machine),
            "load_average": list(self.load),
            "is_busy": self.is_busy,
            "precisions": dict(self.precisions),
            "floors": {
                form: dataclasses.asdict(floor)
                | {"warm_us": floor.warm_us, "cold_us": floor.cold_us}
                for form, floor in self.floors.items()
            },
            "warm": _plain(self.warm),
            "cold": _plain(self.cold),
            "paced": _plain(self.paced),
            "live": {form: dataclasses.asdict(found) for form, found in self.live.items()},
            "profiles": {form: dataclasses.asdict(found) for form, found in self.profiles.items()},
            "checks": [dataclasses.asdict(found) for found in self.checks()],
        }


def _plain(timings: Mapping[Cell, Timing]) -> list[dict[str, Any]]:
    return [cell._asdict() | dataclasses.asdict(timing) for cell, timing in timings.items()]


def _checks(report: LatencyReport, form: str) -> list[Check]:
    timing = report.of_one(form)
    if timing is None:
        return []
    floors = timing.p50 / report.floors[form].warm_us
    found = [
        Check.at_most(form, "p50 in µs at most", value=timing.p50, limit=TARGET_P50_US),
        Check.at_most(form, "p99 in µs at most", value=timing.p99, limit=TARGET_P99_US),
        Check.at_most(form, "p50 in floors at most", value=floors, limit=GREATEST_FLOORS),
    ]
    for other in report.forms_of("float32"):
        if (slow := report.of_one(other)) is not None:
            text, value = f"times as fast as {other}, at least", slow.times(timing)
            found.append(Check.at_least(form, text, value=value, limit=LEAST_SPEEDUP))
    for other in report.forms_of("int8-dynamic"):
        if (dynamic := report.of_one(other)) is not None:
            text, value = f"times as long as {other}, at most", timing.times(dynamic)
            found.append(Check.at_most(form, text, value=value, limit=1.0))
    return found


# -- Tables ----------------------------------------------------------------------------------------


def show(console: Console, report: LatencyReport) -> None:
    """Prints machine, tables, profiles and judgement."""
    for line in _machine_lines(report):
        console.print(line, markup=False)
    console.print("", _floor_table(report), "", _timing_table(report, report.warm), sep="\n")
    if report.cold:
        console.print("", "with empty caches", _timing_table(report, report.cold), sep="\n")
    if report.paced:
        title = "at 60 calls a second, asleep in between"
        console.print("", title, _timing_table(report, report.paced), sep="\n")
    if report.live:
        console.print("", "live play, one game", _live_table(report), sep="\n")
    for form, found in report.profiles.items():
        console.print("", f"operations of a frame, {form}", _op_table(found), sep="\n")
    console.print("")
    checks.show(console, report.checks())


def _machine_lines(report: LatencyReport) -> list[str]:
    machine = report.machine
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    instructions = ", ".join(machine["integer_instructions"]) or "no integer instructions known"
    before, after = report.load
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {instructions}; {caches}",
        f"Python {machine['python']}, {versions}",
    ]
    if report.is_busy:
        busy = "others are using this machine, so figures with ~ are upper limits"
        lines.append(f"load average {before:.1f} before, {after:.1f} after: {busy}")
    return lines


def _empty(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _floor_table(report: LatencyReport) -> Table:
    table = _empty(
        "floor, µs", "weights kB", "call", "cache GB/s", "DRAM GB/s", "floor", "floor, cold"
    )
    for form, floor in report.floors.items():
        table.add_row(
            form,
            f"{floor.weight_bytes / 1e3:,.0f}",
            f"{floor.overhead_us:.1f}",
            f"{floor.cache_gb_per_s:.0f}",
            f"{floor.dram_gb_per_s:.0f}",
            f"{floor.warm_us:.1f}",
            f"{floor.cold_us:.1f}",
        )
    return table


def _timing_table(report: LatencyReport, timings: Mapping[Cell, Timing]) -> Table:
    """A row per cell, µs; speed is over the float32 form under the same circumstances."""
    table = _empty(
        "µs a frame", "threads", "batch", "p50", "p99", "max", "CPU p99", "best round",
        "call alone", "packing", "rows/s", "floors", "speed",
    )  # fmt: skip
    mark = "~" if report.is_busy else ""
    is_cold = timings is report.cold
    for cell, timing in timings.items():
        floor = report.floors[cell.form]
        floors = timing.p50 / (floor.cold_us if is_cold else floor.warm_us)
        table.add_row(
            cell.form,
            str(cell.threads),
            str(cell.batch_size),
            *(f"{mark}{us:,.0f}" for us in (timing.p50, timing.p99, timing.max)),
            f"{timing.cpu_p99:,.0f}",
            f"{timing.best_p50:,.0f}",
            f"{timing.ort_p50:,.0f}",
            f"{timing.packing:,.0f}",
            f"{1e6 * cell.batch_size / timing.p50:,.0f}",
            f"{floors:.1f}" if cell.batch_size == 1 else "",
            _speed(report, timings, cell),
        )
    return table


def _live_table(report: LatencyReport) -> Table:
    """A row per form, µs; parts are medians of processor time."""
    parts = next(iter(report.live.values())).parts
    table = _empty("µs a frame", "p50", "p99", "max", "CPU p50", "CPU p99", *parts)
    mark = "~" if report.is_busy else ""
    for form, timing in report.live.items():
        wall = (f"{mark}{us:,.0f}" for us in (timing.p50, timing.p99, timing.max))
        used = (timing.cpu_p50, timing.cpu_p99, *timing.parts.values())
        table.add_row(form, *wall, *(f"{us:,.0f}" for us in used))
    return table


def _speed(report: LatencyReport, timings: Mapping[Cell, Timing], cell: Cell) -> str:
    for form in report.forms_of("float32"):
        slow = timings.get(cell._replace(form=form))
        if slow is not None and form != cell.form:
            return f"{slow.times(timings[cell]):.2f}"
    return ""


def _op_table(profile: Profile) -> Table:
    table = _empty("operation", "per frame", "µs", "share %")
    shown, rest = profile.ops[:_SHOWN_OPS], profile.ops[_SHOWN_OPS:]
    for name, ops in (*((op.op, (op,)) for op in shown), ("others", rest)):
        count, us = sum(op.count for op in ops), sum(op.us for op in ops)
        share = sum(op.share for op in ops)
        table.add_row(name, f"{count:.0f}", f"{us:.1f}", f"{100 * share:.1f}")
    table.add_section()
    bare = profile.operations * profile.price_us
    text = f"of which merely running {profile.operations:.0f} operations"
    total = sum(op.us for op in profile.ops) or 1.0
    table.add_row(text, "", f"{bare:.1f}", f"{100 * bare / total:.1f}")
    return table


# -- Files -----------------------------------------------------------------------------------------


def write(report: LatencyReport, folder: Path) -> tuple[Path, Path]:
    """Writes the figures and the picture into `folder`, which is made if missing; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / JSON_NAME, report.to_dict())
    figure = plot(report)
    figure.savefig(folder / PLOT_NAME, dpi=150)
    return folder / JSON_NAME, folder / PLOT_NAME


def plot(report: LatencyReport) -> Figure:
    """Median and p99 of one row on one thread beside the floor; rows per second by batch."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    forms = [form for form in report.precisions if report.of_one(form) is not None]
    for place, form in enumerate(forms):
        timing = report.of_one(form)
        if timing is None:
            continue
        left.barh(place, timing.p50, color="tab:blue", height=0.6)
        left.plot([timing.p50, timing.p99], [place, place], color="0.3")
        left.plot(report.floors[form].warm_us, place, "k|", markersize=22)
    left.set_yticks(range(len(forms)), forms)
    left.invert_yaxis()
    left.set_xlabel("µs a frame, one row, one thread: p50, line to p99, | floor")
    for form in report.precisions:
        cells = sorted(c for c in report.warm if c.form == form and c.threads == 1)
        rates = [1e6 * cell.batch_size / report.warm[cell].p50 for cell in cells]
        right.plot([cell.batch_size for cell in cells], rates, "o-", label=form)
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_xlabel("rows of a call")
    right.set_ylabel("rows/s, one thread")
    right.legend(frameon=False)
    return figure

"""Times exported policies: a raw frame in, a controller out.

    python -m exphil_tf.benchmark latency BUNDLE [BUNDLE ...]

Prints tables, and writes `latency.json` and `latency.png`. How fast preprocessing and training are
is told by `python -m benchmarks`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from exphil_tf.config import load
from exphil_tf.errors import EXIT_DATA, UserError, run
from exphil_tf.process.console import make_console

if TYPE_CHECKING:
    from exphil_tf.deploy.latency import Cell, Timing
    from exphil_tf.deploy.latency_report import Floor, LatencyReport
    from exphil_tf.deploy.op_profile import Profile
    from exphil_tf.deploy.streams import View
    from exphil_tf.inference.bundle import Bundle

PROG = "python -m exphil_tf.benchmark latency"
SUBJECT = "latency"
_WIDTH = 132
"""Columns of tables that go to a file."""
_SAMPLE_GAMES = 4
_SAMPLE_SECONDS = 30
_SPLIT = "validation"
_COLD_SHARE = 10
"""Calls with a pause in between are so many times fewer: it takes longer than a frame's answer."""


@dataclass(frozen=True)
class LatencyConfig:
    """Times exported policies in turns: a raw frame in, a controller out."""

    bundles: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of bundles (python -m exphil_tf.export), best forms of one policy."""
    threads: tuple[int, ...] = (1, 2)
    """Threads that a call may use, each tried."""
    batch_sizes: tuple[int, ...] = (1, 8, 64, 256)
    """Rows of a call, each tried."""
    frames: int = 10_000
    """Calls at batch 1; larger batches make fewer."""
    data: Path | None = None
    """Dataset whose validation games are played; none plays sample games."""
    cold: bool = False
    """Also with empty caches, as between two frames of an emulator; a tenth of the calls."""
    paced: bool = False
    """Also at 60 calls a second, asleep in between as play is; a tenth of the calls."""
    profile: bool = False
    """Also tell which operations take the time."""
    output: Path = Path("benchmarks/results/latency")
    """Folder for latency.json and latency.png."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name in ("bundles", "threads", "batch_sizes"):
            if not getattr(self, name):
                raise ValueError(f"{name}: want at least one. Received: none")
        for name in ("threads", "batch_sizes"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")
        if self.frames < 1:
            raise ValueError(f"frames: want at least 1. Received: {self.frames}")


def main(argv: Sequence[str]) -> int:
    """Measures, prints the tables, writes the report."""
    config = load(LatencyConfig, _without_subject(argv), prog=PROG)
    console = make_console(soft_wrap=False)
    if not console.is_terminal:
        console = make_console(width=_WIDTH, soft_wrap=False)
    bundles = _open(config.bundles)
    report = measure(config, bundles, _views(config.data), console=console)

    from exphil_tf.deploy import latency_report

    latency_report.show(console, report)
    for path in latency_report.write(report, config.output):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def _without_subject(argv: Sequence[str]) -> list[str]:
    """The arguments behind the benchmark's name.

    Raises: UserError: if another or none is named.
    """
    if list(argv[:1]) == [SUBJECT]:
        return list(argv[1:])
    if {"--help", "-h"} & set(argv):
        return ["--help"]
    received = argv[0] if argv else "nothing"
    raise UserError(
        f"want the name of a benchmark first. Received: {received}",
        f"There is one: {PROG} BUNDLE.",
    )


def measure(
    config: LatencyConfig,
    bundles: Mapping[str, Bundle],
    views: Sequence[View],
    *,
    console: Console,
) -> LatencyReport:
    """Times all forms; `console` is told what is being done."""
    from exphil_tf.deploy import latency, machine, op_profile
    from exphil_tf.deploy.latency_report import LatencyReport

    described, before = machine.describe(), machine.load_average()
    with console.status("measuring the floor") as status:
        floors = _floors(bundles)
        warm = latency.measure(
            bundles,
            views,
            threads=config.threads,
            batch_sizes=config.batch_sizes,
            num_frames=config.frames,
            on_cell=lambda cell: status.update(f"timing {cell.form}, batch {cell.batch_size}"),
        )
        cold: dict[Cell, Timing] = {}
        paced: dict[Cell, Timing] = {}
        count = max(1, config.frames // _COLD_SHARE)
        if config.cold:
            status.update("timing with empty caches")
            cold = latency.measure(bundles, views, num_frames=count, between="cold")
        if config.paced:
            status.update("timing at 60 frames a second")
            paced = latency.measure(bundles, views, num_frames=count, between="paced")
        profiles: dict[str, Profile] = {}
        if config.profile:
            status.update("profiling")
            frames, price = latency.frames_of(views, 1), op_profile.node_price()
            for name, bundle in bundles.items():
                if bundle.config.batch_size in (None, 1):
                    profiles[name] = op_profile.profile(bundle, frames, price=price)
    return LatencyReport(
        machine=described,
        load=(before, machine.load_average()),
        is_busy=before > machine.BUSY * described["cores"],
        precisions={name: bundle.config.precision for name, bundle in bundles.items()},
        floors=floors,
        warm=warm,
        cold=cold,
        paced=paced,
        profiles=profiles,
    )


def _open(folders: Sequence[Path]) -> dict[str, Bundle]:
    """Bundles by a name that tells them apart: the folder's, or else the whole path.

    Raises: UserError: as `open_bundle`, or if a folder is given twice or holds no step.
    """
    from exphil_tf.inference.bundle import open_bundle

    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise UserError(f"bundles: want each once. Received: {' '.join(names)}")
    bundles = dict(zip(names, map(open_bundle, folders), strict=True))
    for name, bundle in bundles.items():
        if bundle.config.form != "step":
            raise UserError(
                f"{name}: holds a {bundle.config.form}, and only steps are timed",
                "Export it without --form window.",
            )
    return bundles


def _views(data: Path | None) -> list[View]:
    """Games to play: of the dataset, or samples.

    Raises: UserError: if there is no dataset (66), it is damaged (65) or of another schema (78).
    """
    from exphil_tf.deploy import streams

    if data is None:
        from exphil_tf import samples

        settings = samples.SamplesConfig(
            output=Path(), games=_SAMPLE_GAMES, max_seconds=_SAMPLE_SECONDS
        )
        return list(streams.game_views(samples.make_games(settings)))
    try:
        return list(streams.dataset_views(data, _SPLIT))
    except ValueError as error:  # a record of a sound shard that cannot be decoded
        raise UserError(f"{data}: {error}", exit_code=EXIT_DATA) from error


def _floors(bundles: Mapping[str, Bundle]) -> dict[str, Floor]:
    from exphil_tf.deploy import floor
    from exphil_tf.deploy.latency_report import Floor

    overhead = floor.call_overhead_us()
    found = {}
    for name, bundle in bundles.items():
        num_bytes = floor.weight_bytes(bundle.model)
        rate = floor.read_bandwidth(num_bytes)
        found[name] = Floor(num_bytes, overhead, rate.cache / 1e9, rate.dram / 1e9)
    return found


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

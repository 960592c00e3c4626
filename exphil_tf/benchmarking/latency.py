"""Latency of exported policies: a raw frame in, a controller out, in turns."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_tf.benchmarking import (
    frame_timing,
    host,
    latency_report,
    op_profile,
    roofline,
)
from exphil_tf.benchmarking.benchmark_config import LatencyConfig
from exphil_tf.benchmarking.frame_timing import Cell, Timing
from exphil_tf.benchmarking.latency_report import Floor, LatencyReport
from exphil_tf.benchmarking.op_profile import Profile
from exphil_tf.evaluation import episodes
from exphil_tf.evaluation.episodes import Perspective
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import Bundle, open_bundle
from exphil_tf.melee.types import Game
from exphil_tf.sim.sample_games import SampleConfig, make_games

if TYPE_CHECKING:
    from exphil_tf.benchmarking.live_timing import LiveTiming

_SAMPLE_GAMES = 4
_SAMPLE_SECONDS = 30
_COLD_SHARE = 10
"""Calls with a pause in between are so many times fewer: it takes longer than a frame's answer."""


def run(config: LatencyConfig, console: Console) -> None:
    """Measures, prints the tables, writes the report."""
    report = measure(config, open_bundles(config.bundles), _perspectives(config), console=console)
    latency_report.show(console, report)
    for path in latency_report.write(report, config.output):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


def measure(
    config: LatencyConfig,
    bundles: Mapping[str, Bundle],
    perspectives: Sequence[Perspective],
    *,
    console: Console,
) -> LatencyReport:
    """Times all forms; `console` is told what is being done."""
    described, before = host.describe(), host.load_average()
    with console.status("measuring the floor") as status:
        floors = _floors(bundles)
        warm = frame_timing.measure(
            bundles,
            perspectives,
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
            cold = frame_timing.measure(bundles, perspectives, num_frames=count, between="cold")
        if config.paced:
            status.update("timing at 60 frames a second")
            paced = frame_timing.measure(bundles, perspectives, num_frames=count, between="paced")
        live: dict[str, LiveTiming] = {}
        if config.live:
            from exphil_tf.benchmarking import live_timing  # libmelee takes a second to import

            status.update("timing live play")
            pause = frame_timing.pacer() if config.paced else None
            live = live_timing.measure(bundles, _sample_games()[0], num_frames=count, pause=pause)
        profiles: dict[str, Profile] = {}
        if config.profile:
            status.update("profiling")
            frames, price = frame_timing.frames_of(perspectives, 1), op_profile.node_price()
            for name, bundle in bundles.items():
                if bundle.config.batch_size in (None, 1):
                    profiles[name] = op_profile.profile(bundle, frames, price=price)
    return LatencyReport(
        machine=described,
        load=(before, host.load_average()),
        is_busy=before > host.BUSY * described["cores"],
        precisions={name: bundle.config.precision for name, bundle in bundles.items()},
        floors=floors,
        warm=warm,
        cold=cold,
        paced=paced,
        profiles=profiles,
        live=live,
    )


def open_bundles(folders: Sequence[Path]) -> dict[str, Bundle]:
    """Bundles by a name that tells them apart: the folder's, or else the whole path.

    Raises: UserError: as `open_bundle`, or if a folder is given twice or holds no step.
    """
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


def _perspectives(config: LatencyConfig) -> list[Perspective]:
    """Games to play: of the dataset, or samples."""
    if config.data is not None:
        return list(episodes.dataset_perspectives(config.data, config.split))
    return list(episodes.perspectives_of(_sample_games()))


@functools.cache
def _sample_games() -> tuple[Game, ...]:
    return tuple(make_games(SampleConfig(games=_SAMPLE_GAMES, max_seconds=_SAMPLE_SECONDS)))


def _floors(bundles: Mapping[str, Bundle]) -> dict[str, Floor]:
    overhead = roofline.call_overhead_us()
    found = {}
    for name, bundle in bundles.items():
        num_bytes = roofline.weight_bytes(bundle.model)
        rate = roofline.read_bandwidth(num_bytes)
        found[name] = Floor(num_bytes, overhead, rate.cache / 1e9, rate.dram / 1e9)
    return found

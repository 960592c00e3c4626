"""Stick centres from what players do: `python -m exphil_tf.kmeans --replays DIR --output FILE`.

Reads replays, or with `--data` the counts that a dataset's manifest already holds. The file's
`axis_centres` are what the policy's codec takes (`train --kmeans-centers FILE`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.table import Table

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.config import Sources, refuse_given
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind, fields_of, option
from exphil_tf.foundation.options import options
from exphil_tf.melee.controls import AXES
from exphil_tf.preprocessing.dataset_config import DatasetConfig, WorkerConfig
from exphil_tf.process.console import make_console
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records import integrity
from exphil_tf.records.manifest import load_manifest
from exphil_tf.records.stick_centres import StickCentres, fit
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.splits import Split

PROG = "python -m exphil_tf.kmeans"


@dataclass(frozen=True)
class KMeansConfig:
    """Fits the centres of the stick buckets to what players do."""

    KIND: ClassVar = Kind.RESULT

    output: Path
    """JSON file to write."""
    replays: tuple[str, ...] = option((), kind=Kind.SOURCE)
    """Folders, .slp files (packed or not), zips or tars."""
    data: Path | None = None
    """A dataset instead of replays: takes the counts of its training split."""
    max_files: int | None = None
    """At most this many games of --replays, picked by hash."""
    buckets: int = 21
    """Buckets per stick axis, odd."""
    axes: tuple[str, ...] = AXES
    """Axes whose readings count; all share the centres."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)

    def __post_init__(self) -> None:
        """Refuses what can't be fitted."""
        if bool(self.replays) == (self.data is not None):
            raise ValueError("want either --replays or --data")
        if self.max_files is not None and self.max_files < 1:
            raise ValueError(f"max_files: want at least 1. Received: {self.max_files}")
        if self.buckets % 2 == 0 or not 3 <= self.buckets <= 161:
            raise ValueError(f"buckets: want an odd number in 3…161. Received: {self.buckets}")
        if not self.axes or not set(self.axes) <= set(AXES):
            raise ValueError(
                f"axes: want some of {' '.join(AXES)}. Received: {' '.join(self.axes)}"
            )


def main(argv: Sequence[str]) -> int:
    """Counts, fits, writes the file and prints the centres."""
    sources = Sources(KMeansConfig, argv, prog=PROG, partial=True)
    loaded, beam_flags = sources.load(), sources.unknown
    config = loaded.config
    if config.data is not None:
        of_replays = {*fields_of(FilterConfig), *fields_of(WorkerConfig), "max_files"}
        why = "has no effect beside --data, as a dataset is what it is"
        refuse_given(loaded.given, of_replays, why=why)
    console = make_console()
    from beam_pipelines.beam_flags import require_known

    require_known(beam_flags, own_flags=[option.flag for option in options(KMeansConfig).values()])
    counts = _count_dataset(config.data) if config.data else _count_replays(config, beam_flags)
    if not counts.get("sticks"):
        raise UserError(
            "no game is left to count",
            "Relax the filters, or see exphil_tf.scan.",
            exit_code=EXIT_DATA,
        )
    histogram = np.sum([counts["sticks"][axis] for axis in config.axes], axis=0)
    try:
        centres = fit(histogram, config.buckets)
        ControllerCodec(axis_centres=centres.axis_centres)
    except ValueError as error:
        raise UserError(f"--buckets: {error}", exit_code=EXIT_DATA) from error
    write_file(config.output, [to_json(centres, config, counts=counts, histogram=histogram)])
    console.print(_table(centres, histogram))
    console.print(f"Written to {config.output}", markup=False)
    return 0


def _count_dataset(folder: Path) -> dict[str, Any]:
    manifest = load_manifest(folder)
    integrity.check(folder, manifest, mode="sizes")  # the counts are the manifest's own
    stats = manifest.stats.get(str(Split.TRAIN))
    return {} if stats is None else stats.model_dump(mode="json")


def _count_replays(config: KMeansConfig, beam_flags: Sequence[str]) -> dict[str, Any]:
    from beam_pipelines.kmeans_sticks import count_collection

    job = DatasetConfig(
        replays=config.replays,
        output=".",
        max_files=config.max_files,
        filters=config.filters,
        worker=config.worker,
    )
    return count_collection(job, beam_flags=beam_flags)


def to_json(
    centres: StickCentres, config: KMeansConfig, *, counts: dict[str, Any], histogram: np.ndarray
) -> bytes:
    """Bytes of the file: the centres, and what they were fitted to."""
    content = {
        "axis_centres": list(centres.axis_centres),
        "rms_error": centres.rms_error,
        "axes": list(config.axes),
        "games": counts["games"],
        "perspective_frames": counts["perspective_frames"],
        "histogram": histogram.tolist(),
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def _table(centres: StickCentres, histogram: np.ndarray) -> Table:
    codec = ControllerCodec(axis_centres=centres.axis_centres)
    readings = np.arange(-80, 81).astype(np.int8).view(np.uint8)
    shares = np.bincount(codec.axis_table[readings], histogram, codec.num_axis) / histogram.sum()
    title = f"Stick centres (rms error {centres.rms_error:.4f})"
    table = Table("bucket", "centre", "share", title=title, title_justify="left")
    for index, (centre, share) in enumerate(zip(centres.axis_centres, shares, strict=True)):
        table.add_row(str(index), f"{centre:+.4f}", f"{share:.2%}")
    return table


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

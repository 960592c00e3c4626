"""Replays → dataset: `python -m exphil_tf.preprocess --replays DIR --output DIR`.

Flags that are not ours go to Apache Beam (`--runner=DaskRunner`,
`--direct_running_mode=multi_processing`…); those that Beam does not know either are refused. Exit
codes are those of `exphil_tf.foundation.errors`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import MofNCompleteColumn, TextColumn

from exphil_tf.foundation.config import load_partial
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.options import options
from exphil_tf.preprocessing import rejects
from exphil_tf.preprocessing.dataset_config import DatasetConfig, keyed
from exphil_tf.preprocessing.summary import summary
from exphil_tf.process.console import command, make_console, now_and_then, progress_bar
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import REJECTED
from exphil_tf.replays.players import PUBLIC_KEY, PUBLIC_KEY_NOTE

if TYPE_CHECKING:
    from beam_pipelines.build_dataset import OnProgress
    from exphil_tf.preprocessing.job_progress import Count

PROG = "python -m exphil_tf.preprocess"


def main(argv: Sequence[str]) -> int:
    """Builds the dataset and prints what became of every file."""
    config, beam_flags = load_partial(DatasetConfig, argv, prog=PROG)
    config = keyed(config, os.environ)
    console = make_console()
    # Beam takes 2 s to import: after the command line has been read.
    from beam_pipelines import build_dataset as job
    from beam_pipelines.beam_flags import require_known

    require_known(beam_flags, own_flags=[option.flag for option in options(DatasetConfig).values()])
    if "://" in config.output:
        console.print(job.submit(config, beam_flags=beam_flags))
        return 0
    if config.records.pseudonym_key == PUBLIC_KEY:
        console.print(f"note: {PUBLIC_KEY_NOTE}", markup=False)
    found = job.find_replays(config.replays)
    console.print(f"{len(found.sources)} replays found; dataset: {config.output}")
    started_s, watch = time.monotonic(), _Watch()
    with _shown(console, watch, total=len(found.sources) + len(found.refused)) as on_progress:
        manifest = job.build_dataset(
            config, beam_flags=beam_flags, on_progress=on_progress, found=found
        )
    elapsed_s = time.monotonic() - started_s if watch.is_running else None
    if elapsed_s is None:
        console.print(
            "nothing to do: the dataset is finished, with the same replays and configuration"
        )
    console.print(summary(manifest, elapsed_s=elapsed_s))
    rejects.report(Path(config.output), config.rejects, console, is_new=elapsed_s is not None)
    if not manifest.totals.games:
        raise UserError(
            f"{config.output}: none of {manifest.totals.files} files became a game",
            f"See the reasons in {Path(config.output) / REJECTED}, or relax the filters.",
            exit_code=EXIT_DATA,
        )
    if not manifest.frames("train"):
        console.print("note: no game is left to train on: lower --val-split and --test-split")
    else:
        console.print("Next:", command("python -m exphil_tf.train", "--data", config.output))
    return 0


class _Watch:
    """Whether the job reported anything, that is, whether there was one."""

    is_running = False


@contextlib.contextmanager
def _shown(console: Console, watch: _Watch, *, total: int) -> Iterator[OnProgress]:
    """Progress: a bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _lines(console, watch, total)
        return
    columns = MofNCompleteColumn(), TextColumn("{task.fields[rate]}")
    with progress_bar(console, *columns) as bar:
        task = bar.add_task("reading", total=total, rate="")
        started_s = time.monotonic()

        def show(count: Count) -> None:
            watch.is_running = True
            rate = count.frames / max(1e-3, time.monotonic() - started_s)
            stage = "encoding" if count.done else "reading"
            done = count.done or count.scanned
            bar.update(task, description=stage, completed=done, rate=f"{rate:,.0f} frames/s")

        yield show


def _lines(console: Console, watch: _Watch, total: int) -> OnProgress:
    is_due = now_and_then()

    def show(count: Count) -> None:
        watch.is_running = True
        if is_due():
            console.print(
                f"{count.scanned}/{total} read, {count.done}/{total} done, "
                f"{count.games} games, {count.frames:,} frames"
            )

    return show


if __name__ == "__main__":
    run(main, sys.argv[1:])

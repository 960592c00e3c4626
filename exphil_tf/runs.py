"""The runs of a folder: lists them, tells of one, compares two or more, watches one that trains.

python -m exphil_tf.runs list
python -m exphil_tf.runs info RUN
python -m exphil_tf.runs compare RUN RUN …
python -m exphil_tf.runs watch [RUN] [--once]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from rich.console import Console
from rich.live import Live
from rich.table import Table

from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.forms import take_form
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.process.console import wide_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.training.run_files import CONFIG_YAML
from exphil_tf.training.run_folder import runs_in
from exphil_tf.training.run_monitor import snapshot
from exphil_tf.training.run_summary import RunSummary, duration, summarise

PROG = "python -m exphil_tf.runs"
_NO_RUNS = "no runs in {}; python -m exphil_tf.train makes some, --runs-dir names another folder"
HELP_FORMS = ("list", "info", "compare", "watch")
"""First words of the forms that have a `--help` of their own."""


@dataclass(frozen=True)
class ListConfig:
    """Lists runs."""

    KIND: ClassVar = Kind.RESULT

    runs_dir: Path = Path("runs")
    """Folder of the runs."""


@dataclass(frozen=True)
class InfoConfig:
    """Tells what a run is, how far it is and what came of it."""

    KIND: ClassVar = Kind.RESULT

    name: Annotated[str, tyro.conf.Positional]
    """Of the run, or its folder."""
    runs_dir: Path = Path("runs")
    """Folder of the runs."""


@dataclass(frozen=True)
class CompareConfig:
    """Puts runs side by side: results, and the options in which they differ."""

    KIND: ClassVar = Kind.RESULT

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Of the runs, or their folders; two or more."""
    runs_dir: Path = Path("runs")
    """Folder of the runs."""


@dataclass(frozen=True)
class WatchConfig:
    """Shows how a run goes, until it ends or Ctrl-C; nothing of it is touched."""

    KIND: ClassVar = Kind.RESULT

    name: Annotated[str, tyro.conf.Positional] = ""
    """Of the run, or its folder; none for the one that was written to last."""
    runs_dir: Path = Path("runs")
    """Folder of the runs."""
    once: bool = False
    """Show it once and end."""
    poll_seconds: float = option(2.0, only_with={"once": False})
    """How often it is looked at."""
    lines: int = 8
    """Last lines of its log to show."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if not 0.1 <= self.poll_seconds <= 3600:
            raise ValueError(f"poll_seconds: want 0.1 to 3600. Received: {self.poll_seconds}")
        if self.lines < 0:
            raise ValueError(f"lines: want at least 0. Received: {self.lines}")


def main(argv: Sequence[str]) -> int:
    """Does what the first word says."""
    taken = take_form(argv, HELP_FORMS, prog=PROG, text=(__doc__ or "") + "\n")
    if taken is None:
        return 0
    form, rest = taken
    console, prog = wide_console(), f"{PROG} {form}"
    if form == "list":
        _list(load(ListConfig, rest, prog=prog), console)
    elif form == "info":
        _info(load(InfoConfig, rest, prog=prog), console)
    elif form == "compare":
        _compare(load(CompareConfig, rest, prog=prog), console)
    else:
        _watch(load(WatchConfig, rest, prog=prog), console)
    return 0


def find(name: str, runs_dir: Path) -> Path:
    """The folder of a run given by its name or path.

    Raises: UserError: (66) if there is none.
    """
    for folder in (Path(name), runs_dir / name):
        if (folder / CONFIG_YAML).is_file():
            return folder
    known = ", ".join(path.name for path in runs_in(runs_dir)[-5:]) or "none"
    raise UserError(
        f"{name or repr(name)}: no run of that name in {runs_dir}",
        f"There are: {known}.",
        exit_code=EXIT_NO_INPUT,
    )


def _list(config: ListConfig, console: Console) -> None:
    found = sorted(map(summarise, runs_in(config.runs_dir)), key=lambda one: one.changed_s)
    table = Table("run", "backbone", "step", "state", "best", "size", "changed")
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.changed_s))
        size = f"{one.size_bytes / 1e6:.1f} MB"
        backbone = str(one.config.get("backbone", "?"))
        row = (one.path.name, backbone, f"{one.step:,}", one.state, _best(one), size, when)
        table.add_row(*row)
    console.print(table if found else _NO_RUNS.format(config.runs_dir))


def _info(config: InfoConfig, console: Console) -> None:
    folder = find(config.name, config.runs_dir)
    one = summarise(folder)
    data = one.facts.get("data") or {}
    rows: dict[str, object] = {
        "folder": folder,
        "state": one.in_words(),
        "started": one.facts.get("created", "?"),
        "command": " ".join(map(str, one.facts.get("command", []))),
        "seed": one.facts.get("seed", "?"),
        "data": f"{data.get('folder', '?')}, {data.get('training_frames', 0):,} frames to learn",
        "replays": one.facts.get("replay_count", data.get("games", "?")),
        "commit": one.facts.get("git_commit") or "unknown",
        **{name.replace("_", " "): value for name, value in one.results.items()},
    }
    seconds = one.results.get("total_time_seconds")
    if isinstance(seconds, (int, float)):
        rows["total time seconds"] = f"{seconds:.0f} ({duration(seconds)})"
    console.print(_columns({"": rows}))


def _compare(config: CompareConfig, console: Console) -> None:
    if len(config.names) < 2:
        raise UserError(f"want two runs or more. Received: {len(config.names)}", "Name another.")
    found = {name: summarise(find(name, config.runs_dir)) for name in config.names}
    results = {name: {"state": one.state, **one.results} for name, one in found.items()}
    console.print("Results", _columns(results, only_differing=False), sep="\n")
    options = {name: dict(one.config) for name, one in found.items()}
    console.print("Options that differ", _columns(options, only_differing=True), sep="\n")


def _columns(values: Mapping[str, Mapping[str, Any]], *, only_differing: bool = False) -> Table:
    """A row per name, a column per run."""
    table = Table("what", *values)
    for name in dict.fromkeys(name for one in values.values() for name in one):
        cells = [_cell(one.get(name, "")) for one in values.values()]
        if not only_differing or len(set(cells)) > 1:
            table.add_row(name, *cells)
    return table


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _best(one: RunSummary) -> str:
    return "" if one.best is None else f"{one.best[0].removeprefix('best_')} {one.best[1]:.4f}"


def _newest(runs_dir: Path) -> Path:
    found = sorted(map(summarise, runs_in(runs_dir)), key=lambda one: one.changed_s)
    if not found:
        raise UserError(f"no runs in {runs_dir}", "Name one.", exit_code=EXIT_NO_INPUT)
    return found[-1].path


def _watch(config: WatchConfig, console: Console) -> None:
    named = config.name
    folder = find(named, config.runs_dir) if named else _newest(config.runs_dir)
    if config.once or not console.is_terminal:
        console.print(snapshot(folder, lines=config.lines))
        return
    with Live(snapshot(folder, lines=config.lines), console=console, auto_refresh=False) as live:
        while summarise(folder).state in ("training", "unfinished"):
            time.sleep(config.poll_seconds)
            live.update(snapshot(folder, lines=config.lines), refresh=True)


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

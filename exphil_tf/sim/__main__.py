"""The simulator's own commands: `python -m exphil_tf.sim fit|validate`.

python -m exphil_tf.sim validate --replays replays/ --html fidelity.html
python -m exphil_tf.sim fit --replays replays/ --output tables/
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.table import Table

from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.forms import take_form
from exphil_tf.foundation.kinds import Kind
from exphil_tf.process.console import wide_console
from exphil_tf.sim import fidelity_report
from exphil_tf.sim.fit_tables import compared, fit_tables, write_tables
from exphil_tf.sim.recorded import read_recorded
from exphil_tf.sim.validate import validate

PROG = "python -m exphil_tf.sim"
HELP_FORMS = ("fit", "validate")
"""First words of the forms that have a `--help` of their own."""


@dataclass(frozen=True)
class FitConfig:
    """Estimates constants of movement and what hits do from recorded games, beside libmelee's.

    One player in five is held out, by a hash of who they are, for `validate` to judge by.
    """

    KIND: ClassVar = Kind.RESULT

    replays: tuple[str, ...]
    """Folders or .slp files; games of version 3.8 or later count."""
    output: Path | None = None
    """Folder for the tables as CSV; those that the simulator reads lie in exphil_tf/sim/data."""
    max_games: int = 0
    """Most games that are read; 0 is all."""


@dataclass(frozen=True)
class ValidateConfig:
    """Compares the simulator's frames with recorded ones."""

    KIND: ClassVar = Kind.RESULT

    replays: tuple[str, ...]
    """Folders or .slp files; games of version 3.8 or later count."""
    json: Path | None = None
    """Also write every figure as JSON."""
    html: Path | None = None
    """Also write the tables as a self-contained page."""
    everybody: bool = False
    """Judge by all players, not only by those that `fit` holds out."""
    max_games: int = 0
    """Most games that are read; 0 is all."""


def main(argv: Sequence[str]) -> int:
    """Does what the first argument names."""
    taken = take_form(argv, HELP_FORMS, prog=PROG, text=_HELP)
    if taken is None:
        return 0
    form, rest = taken
    console, prog = wide_console(), f"{PROG} {form}"
    if form == "fit":
        _fit(load(FitConfig, rest, prog=prog), console)
    else:
        _validate(load(ValidateConfig, rest, prog=prog), console)
    return 0


def _fit(config: FitConfig, console: Console) -> None:
    tables = fit_tables(list(read_recorded(config.replays, config.max_games)))
    console.print(", ".join(f"{len(rows)} rows of {name}" for name, rows in tables.items()))
    shown = Table("character", "constant", "replays", "frames", "libmelee",
                  title="Constants that differ from libmelee's", title_justify="left")  # fmt: skip
    for row in compared(tables["attributes"]):
        shown.add_row(*row)
    console.print(shown)
    if config.output is not None:
        write_tables(tables, config.output)
        console.print(f"Written to {config.output}", markup=False)


def _validate(config: ValidateConfig, console: Console) -> None:
    games = read_recorded(config.replays, config.max_games)
    found = validate(games, everybody=config.everybody)
    for by in (0, 1):
        console.print(fidelity_report.terminal(found.frames, by))
    console.print(fidelity_report.hit_terminal(found.hits))
    console.print(fidelity_report.shot_terminal(found.shots))
    if config.json is not None:
        text = json.dumps(fidelity_report.facts(found), indent=1) + "\n"
        write_file(config.json, [text.encode()])
        console.print(f"Written to {config.json}", markup=False)
    if config.html is not None:
        write_file(config.html, [fidelity_report.page(found).encode()])
        console.print(f"Written to {config.html}", markup=False)


_HELP = f"""usage: {PROG} fit|validate [OPTIONS]

The simulator's own commands:

  fit       constants of movement and hits from recorded games, beside libmelee's
  validate  the simulator's frames beside recorded ones: how true it is

`--help` behind each lists its options.
"""


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

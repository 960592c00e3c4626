"""The trained policies of a folder of runs: lists, tags, finds the best, tells where one came from.

    python -m exphil_tf.registry list [--tags mamba averaged] [--sort best]
    python -m exphil_tf.registry show|lineage|delete NAME
    python -m exphil_tf.registry tag NAME TAG … [--remove]
    python -m exphil_tf.registry best [--tags mewtwo]

Training enters each policy as its run ends (`--no-register` leaves that out).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from rich.console import Console
from rich.table import Table

from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.forms import take_form
from exphil_tf.foundation.kinds import Kind
from exphil_tf.process.console import wide_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.training.registry import Entry, Registry

PROG = "python -m exphil_tf.registry"
HELP_FORMS = ("list", "show", "tag", "best", "delete", "lineage")
"""First words of the forms that have a `--help` of their own."""
Name = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True)
class ListConfig:
    """Lists policies."""

    KIND: ClassVar = Kind.RESULT

    runs_dir: Path = Path("runs")
    """Folder of the runs, which holds the registry."""
    tags: tuple[str, ...] = ()
    """Only policies that have all of these."""
    sort: Literal["created", "best", "name"] = "created"
    """Order; `best` is by the metric that policies were chosen by, the best first."""
    limit: int = 50
    """Policies to list at most."""
    json: bool = False
    """Print JSON instead of a table."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if self.limit < 1:
            raise ValueError(f"limit: want at least 1. Received: {self.limit}")


@dataclass(frozen=True)
class NameConfig:
    """Of one policy: all that is known of it, where it came from, or that it goes."""

    KIND: ClassVar = Kind.RESULT

    name: Name
    """Of the policy, or its run's folder."""
    runs_dir: Path = Path("runs")
    """Folder of the runs, which holds the registry."""


@dataclass(frozen=True)
class TagConfig:
    """Tags a policy."""

    KIND: ClassVar = Kind.RESULT

    name: Name
    """Of the policy, or its run's folder."""
    tags: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Words to add."""
    remove: bool = False
    """Take them away instead."""
    runs_dir: Path = Path("runs")
    """Folder of the runs, which holds the registry."""


@dataclass(frozen=True)
class BestConfig:
    """Prints the folder of the best policy, and nothing else, for use in scripts."""

    KIND: ClassVar = Kind.RESULT

    tags: tuple[str, ...] = ()
    """Only policies that have all of these."""
    metric: str | None = None
    """Of which the lowest value is best; none means that which policies were chosen by."""
    runs_dir: Path = Path("runs")
    """Folder of the runs, which holds the registry."""


def main(argv: Sequence[str]) -> int:
    """Does what the first word says."""
    taken = take_form(argv, HELP_FORMS, prog=PROG, text=(__doc__ or "") + "\n")
    if taken is None:
        return 0
    form, rest = taken
    console, prog = wide_console(), f"{PROG} {form}"
    if form == "list":
        _list(load(ListConfig, rest, prog=prog), console)
    elif form == "best":
        _best(load(BestConfig, rest, prog=prog), console)
    elif form == "tag":
        _tag(load(TagConfig, rest, prog=prog), console)
    else:
        _one(form, load(NameConfig, rest, prog=prog), console)
    return 0


def _list(config: ListConfig, console: Console) -> None:
    entries = _tagged(Registry(config.runs_dir).entries(), config.tags)
    if config.sort == "best":
        entries.sort(key=lambda entry: _metric(entry, None))
    elif config.sort == "name":
        entries.sort(key=lambda entry: entry.name)
    entries = entries[: config.limit]
    if config.json:
        console.print(json.dumps([asdict(entry) for entry in entries], indent=1), soft_wrap=True)
        return
    of_tags = " with these tags" if config.tags else ""
    none = f"no policies{of_tags} in {config.runs_dir}; training registers each one that it makes"
    console.print(_table(entries) if entries else none)


def _best(config: BestConfig, console: Console) -> None:
    entries = _tagged(Registry(config.runs_dir).entries(), config.tags)
    entries = [one for one in entries if _metric(one, config.metric) != _NONE]
    if not entries:
        what = f" with {' '.join(config.tags)}" if config.tags else ""
        raise UserError(
            f"{config.runs_dir}: no policy{what} in its registry has "
            f"{config.metric or 'been measured'}",
            f"See `{PROG} list`.",
            exit_code=EXIT_NO_INPUT,
        )
    best = min(entries, key=lambda entry: _metric(entry, config.metric))
    console.print(config.runs_dir / best.path, soft_wrap=True)


def _tag(config: TagConfig, console: Console) -> None:
    words = {"remove" if config.remove else "add": config.tags}
    entry = Registry(config.runs_dir).tag(config.name, **words)
    console.print(f"{entry.name}: {' '.join(entry.tags) or 'no tags'}")


def _one(form: str, config: NameConfig, console: Console) -> None:
    registry = Registry(config.runs_dir)
    if form == "delete":
        entry = registry.delete(config.name)
        console.print(f"{entry.name} is out of the registry; {config.runs_dir / entry.path} stays")
        return
    entry = registry.find(config.name)
    if form == "show":
        console.print(json.dumps(asdict(entry), indent=2), soft_wrap=True)
        return
    console.print(_table([entry]))
    for title, found in (
        ("comes from", registry.ancestors(entry)),
        ("led to", registry.children(entry)),
    ):
        console.print(f"{title}: {', '.join(one.name for one in found) or 'nothing listed here'}")


_NONE = float("inf")


def _metric(entry: Entry, name: str | None) -> float:
    """A metric's value, the lower the better; infinite where it was not measured."""
    if name is not None:
        return entry.metrics.get(name, _NONE)
    return next((v for n, v in entry.metrics.items() if n.startswith("best_")), _NONE)


def _tagged(entries: Sequence[Entry], tags: Sequence[str]) -> list[Entry]:
    return [entry for entry in entries if set(tags) <= set(entry.tags)]


def _table(entries: Sequence[Entry]) -> Table:
    table = Table("name", "created", "steps", "metrics", "tags")
    for entry in entries:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in entry.metrics.items())
        row = (entry.name, entry.created[:16], f"{entry.steps:,}", metrics, " ".join(entry.tags))
        table.add_row(*row)
    return table


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

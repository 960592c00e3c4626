"""Copies folders to a store and back: Backblaze B2, Cloudflare R2, S3, or another folder.

python -m exphil_tf.sync up FOLDER ADDRESS
python -m exphil_tf.sync down ADDRESS FOLDER
python -m exphil_tf.sync watch FOLDER ADDRESS [--interval 600] [--once]
python -m exphil_tf.sync snapshot FOLDER ADDRESS [--date 2026-02-01]
python -m exphil_tf.sync list ADDRESS

An address is b2:BUCKET/PREFIX, r2:BUCKET/PREFIX, s3:BUCKET/PREFIX or a folder. Keys come from the
environment: B2_KEY_ID and B2_APP_KEY; R2_ACCESS_KEY, R2_SECRET_KEY and R2_ENDPOINT; or AWS' own.
Nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console
from rich.progress import DownloadColumn, TransferSpeedColumn

from exphil_tf.cloud.address import Address, open_store, parse, require_apart
from exphil_tf.cloud.download import download
from exphil_tf.cloud.store import OnBytes, Store
from exphil_tf.cloud.sums import MANIFEST, OnFile, Summary, silent
from exphil_tf.cloud.upload import upload
from exphil_tf.foundation.atomic import CHECKSUMS
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, remark, run
from exphil_tf.foundation.forms import take_form
from exphil_tf.foundation.kinds import Kind
from exphil_tf.process.console import make_console, progress_bar, wide_console
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT, EXIT_OK

PROG = "python -m exphil_tf.sync"
HELP_FORMS = ("up", "down", "watch", "snapshot", "list")
"""First words of the forms that have a `--help` of their own."""
SNAPSHOTS = "snapshots"
_DATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


@dataclass(frozen=True)
class UpConfig:
    """Copies a folder up; what is there already is skipped, nothing is deleted."""

    KIND: ClassVar = Kind.RESULT

    folder: Annotated[Path, tyro.conf.Positional]
    """What is copied, links followed."""
    address: Annotated[str, tyro.conf.Positional]
    """Where to."""


@dataclass(frozen=True)
class DownConfig:
    """Copies what lies under an address into a folder; files that are newer here stay."""

    KIND: ClassVar = Kind.RESULT

    address: Annotated[str, tyro.conf.Positional]
    """Where from."""
    folder: Annotated[Path, tyro.conf.Positional]
    """Where to."""


@dataclass(frozen=True)
class WatchConfig:
    """Copies a folder up again and again, and a last time when it is told to end."""

    KIND: ClassVar = Kind.RESULT

    folder: Annotated[Path, tyro.conf.Positional]
    """What is copied."""
    address: Annotated[str, tyro.conf.Positional]
    """Where to."""
    interval: float = 600.0
    """Seconds between copies."""
    once: bool = False
    """Copy once and end."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if not 0.05 <= self.interval <= 86400:
            raise ValueError(f"interval: want 0.05 to 86400 seconds. Received: {self.interval}")


@dataclass(frozen=True)
class SnapshotConfig:
    """Copies a folder up under a date, where later copies leave it alone."""

    KIND: ClassVar = Kind.RESULT

    folder: Annotated[Path, tyro.conf.Positional]
    """What is copied."""
    address: Annotated[str, tyro.conf.Positional]
    """Where to; the copy is at ADDRESS/snapshots/DATE/FOLDER's name."""
    date: str | None = None
    """Name of the snapshot; none for today's date."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if self.date is not None and not _DATE.fullmatch(self.date):
            raise ValueError(f"date: want a date such as 2026-02-01. Received: {self.date!r}")


@dataclass(frozen=True)
class ListConfig:
    """Lists what lies under an address, checkpoints and policies as one line each."""

    KIND: ClassVar = Kind.RESULT

    address: Annotated[str, tyro.conf.Positional]
    """Of a store, or a folder here."""


def main(argv: Sequence[str]) -> int:
    """Does what the first word says."""
    taken = take_form(argv, HELP_FORMS, prog=PROG, text=(__doc__ or "") + "\n")
    if taken is None:
        return EXIT_OK
    form, rest = taken
    if "" in rest:  # of a shell's variable that is not set; as a path it would be this folder
        raise UserError(f"{form}: want FOLDER and ADDRESS. Received: an empty word")
    console, prog = make_console(), f"{PROG} {form}"
    if form == "up":
        return _up(load(UpConfig, rest, prog=prog), console)
    if form == "down":
        return _down(load(DownConfig, rest, prog=prog), console)
    if form == "watch":
        return _watch(load(WatchConfig, rest, prog=prog), console)
    if form == "snapshot":
        return _snapshot(load(SnapshotConfig, rest, prog=prog), console)
    return _list(load(ListConfig, rest, prog=prog), wide_console())


def _open(text: str) -> tuple[Address, Store]:
    address = parse(text)
    return address, open_store(address, os.environ)


def _up(config: UpConfig, console: Console) -> int:
    return _copy_up(config.folder, config.address, console)


def _copy_up(folder: Path, text: str, console: Console) -> int:
    _require(folder)
    address, store = _open(text)
    require_apart(address, folder)
    with _shown(console, "up") as on_file:
        summary = upload(folder, store, on_file=on_file)
    return _report(summary, f"{folder} → {address}", console)


def _down(config: DownConfig, console: Console) -> int:
    address, store = _open(config.address)
    if address.kind == "folder":
        _require(Path(address.path).expanduser())
        require_apart(parse(str(config.folder.absolute())), Path(address.path).expanduser())
    with _shown(console, "down") as on_file:
        summary = download(store, config.folder, on_file=on_file)
    return _report(summary, f"{address} → {config.folder}", console)


def _watch(config: WatchConfig, console: Console) -> int:
    if config.once:
        return _copy_up(config.folder, config.address, console)
    _require(config.folder)
    address, store = _open(config.address)
    require_apart(address, config.folder)
    console.print(f"{config.folder} → {address}, every {config.interval:g} s until it is stopped")
    try:
        while True:
            _try_up(config.folder, store, console)
            time.sleep(config.interval)
    except KeyboardInterrupt:
        console.print("a last time …")
        _try_up(config.folder, store, console)
    return EXIT_OK


def _try_up(folder: Path, store: Store, console: Console) -> None:
    """One copy of many: what fails now is copied the next time."""
    try:
        summary = upload(folder, store)
    except OSError as error:
        remark(f"not copied this time: {error}")
        return
    if summary.files or summary.problems:
        _report(summary, time.strftime("%H:%M:%S"), console)


def _snapshot(config: SnapshotConfig, console: Console) -> int:
    date = config.date or datetime.date.today().isoformat()
    name = config.folder.resolve().name
    address = parse(config.address).join(SNAPSHOTS, date, name)
    return _copy_up(config.folder, str(address), console)


def _list(config: ListConfig, console: Console) -> int:
    address, store = _open(config.address)
    if address.kind == "folder":
        _require(Path(address.path).expanduser())
    sizes: dict[str, list[int]] = {}
    found = store.list()
    published = {one.key.rpartition("/")[0] for one in found if one.key.endswith(f"/{CHECKSUMS}")}
    for one in found:
        if one.key.rpartition("/")[2] == MANIFEST:
            continue
        place = next((p for p in published if one.key.startswith(f"{p}/")), None)
        sizes.setdefault(f"{place}/" if place else one.key, []).append(one.size)
    for name in sorted(sizes):
        console.print(f"{sum(sizes[name]) / 1e6:10.2f} MB  {len(sizes[name]):6,}  {name}")
    total = sum(map(sum, sizes.values()))
    console.print(f"{address}: {sum(map(len, sizes.values())):,} files, {total / 1e6:,.1f} MB")
    return EXIT_OK


def _require(folder: Path) -> None:
    if not folder.exists():
        raise UserError(f"{folder}: no such folder", "Check the path.", exit_code=EXIT_NO_INPUT)


def _report(summary: Summary, what: str, console: Console) -> int:
    for problem in summary.problems:
        remark(problem)
    console.print(f"{what}: {summary.in_words()}")
    return EXIT_DATA if summary.problems else EXIT_OK


@contextlib.contextmanager
def _shown(console: Console, what: str) -> Iterator[OnFile]:
    """A bar of the bytes so far and their speed, where there is a terminal."""
    if not console.is_terminal:
        yield silent
        return
    lock, total = threading.Lock(), 0
    with progress_bar(console, DownloadColumn(), TransferSpeedColumn()) as bar:
        task = bar.add_task(what, total=None)

        def on_file(name: str, size: int) -> OnBytes:
            nonlocal total
            with lock:
                total += size
                bar.update(task, total=total, description=name.rpartition("/")[2])
            return lambda count: bar.advance(task, count)

        yield on_file


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)

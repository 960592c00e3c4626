"""What a doctor finds: one line for each thing that was looked at, and what to do about it."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rich.console import Console

from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_OK

Status = Literal["ok", "note", "fail"]


class Check(NamedTuple):
    """What was found about one thing."""

    name: str
    status: Status
    """`fail` is what nothing works without, `note` what is merely useful."""
    found: str
    fix: str = ""
    """What to do; empty if nothing has to be done."""


def show(checks: Iterable[Check], console: Console) -> int:
    """Prints each check as soon as its answer is there; returns the exit code."""
    code = EXIT_OK
    for check in checks:
        console.print(f"{check.status:4}  {check.name}: {check.found}", markup=False)
        if check.fix:
            console.print(f"      {check.fix}", markup=False)
        if check.status == "fail":
            code = EXIT_DATA
    return code

"""Something asked of an exported policy, and whether it holds."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console


@dataclass(frozen=True)
class Check:
    """A figure and its limit."""

    form: str
    what: str
    """A sentence that the limit completes."""
    value: float
    limit: float
    is_met: bool

    @classmethod
    def at_most(cls, form: str, what: str, *, value: float, limit: float) -> "Check":
        """A figure with an upper limit."""
        return cls(form, what, value, limit, bool(value <= limit))

    @classmethod
    def at_least(cls, form: str, what: str, *, value: float, limit: float) -> "Check":
        """A figure with a lower limit."""
        return cls(form, what, value, limit, bool(value >= limit))


def show(console: Console, checks: Iterable[Check]) -> None:
    """Prints a line each: + where it holds, ! where it does not."""
    for check in checks:
        mark = "+" if check.is_met else "!"
        figures = f"{check.limit:.4g}: {check.value:.4g}"
        console.print(f" {mark} {check.form}: {check.what} {figures}", markup=False, soft_wrap=True)

"""Rows of a benchmark, as a table and as JSON."""

from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Report:
    """Figures of one subject.

    Args:
      title: heading of the table.
      columns: names of the figures, in order; rows may lack some.
      rows: name → figures.
      notes: sentences below the table: what is compared with what.
      digits: of numbers below 100, in the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    digits: int = 3

    def table(self) -> Table:
        """For a terminal."""
        table = Table("", title=self.title, title_justify="left", caption="\n".join(self.notes))
        table.caption_justify = "left"
        for name in self.columns:
            table.add_column(name, justify="right")
        for name, figures in self.rows.items():
            table.add_row(name, *(self._short(figures.get(column)) for column in self.columns))
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"title": self.title, "rows": self.rows, "notes": list(self.notes)}

    def _short(self, value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{self.digits}g}"

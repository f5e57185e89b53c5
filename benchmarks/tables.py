"""Tables of results, as plain text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Cells are texts; columns after the first `left` ones are set to the right. `notes` stand below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    notes: Sequence[str] = ()

    def plain(self) -> str:
        cells = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = ["  ".join(self._aligned(row, widths)).rstrip() for row in cells]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, "", *lines, *self.notes, ""])

    def _aligned(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        return [
            cell.ljust(width) if i < self.left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]

    def markdown(self) -> str:
        rule = ["---" if i < self.left else "---:" for i in range(len(self.columns))]
        lines = ["| " + " | ".join(row) + " |" for row in [self.columns, rule, *self.rows]]
        return "\n".join([f"**{self.title}**", "", *lines, *(f"\n{note}" for note in self.notes), ""])


def show(tables: Sequence[Table]) -> None:
    for table in tables:
        print(table.plain())


def score(value: float | None) -> str:
    """.0616, as the papers print it; a dash where there is none."""
    return "–" if value is None else f"{value:.4f}".removeprefix("0")


def interval(value: Sequence[float]) -> str:
    """.0616 [.0601, .0631]"""
    mean, low, high = map(score, value)
    return f"{mean} [{low}, {high}]"


def thousands(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"

"""Tables of results, as plain text and in README.md.

python -m benchmarks.tables [--check]     writes the tables of README.md anew from results/*.json
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
BENCHMARKS = ("accuracy", "pipeline", "cold", "speed", "resume")


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


def filled(readme: str) -> str:
    """The README with the tables of all results that there are between their markers."""
    from benchmarks.harness import read_results

    for name in BENCHMARKS:
        results = read_results(HERE / "results" / f"{name}.json")
        tables = importlib.import_module(f"benchmarks.{name}").tables(results) if results else []
        text = "\n".join(table.markdown() for table in tables) or "Not measured yet.\n"
        begin, end = f"<!-- {name}: begin, by python -m benchmarks.tables -->", f"<!-- {name}: end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(readme):
            raise SystemExit(f"{README.name} has no place for {name}: {begin} … {end}")
        whole = f"{begin}\n\n{text}\n{end}"
        readme = pattern.sub(lambda found, whole=whole: whole, readme)
    return readme


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tables of benchmarks/README.md from the results.")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if check and before != after:
        raise SystemExit("benchmarks/README.md is stale: python -m benchmarks.tables")
    if not check:
        README.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()

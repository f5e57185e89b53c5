"""Tables of results, as plain text and in README.md.

python -m benchmarks.tables [--check]     writes the tables of both README.md anew from results/*.json
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE / "README.md"
FRONT = HERE.parent / "README.md"
"""The page of the repository, with the summary of the accuracy."""
BENCHMARKS = ("accuracy", "pipeline", "untuned", "newcomers", "rebuilt", "cold", "speed", "resume")


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
    """The README of the benchmarks with the tables of all results that there are between their markers."""
    for name in BENCHMARKS:
        results = _results(name)
        tables = importlib.import_module(f"benchmarks.{name}").tables(results) if results else []
        readme = _between(readme, name, "\n".join(table.markdown() for table in tables) or "Not measured yet.\n")
    return readme


def summarised(readme: str) -> str:
    """The README of the repository with the summary of the accuracy."""
    from benchmarks import accuracy, pipeline

    tables = (accuracy.summary(_results("accuracy")), pipeline.summary(_results("pipeline")))
    return _between(readme, "summary", "\n".join(table.markdown() for table in tables))


def _results(name: str) -> dict[str, Any]:
    from benchmarks.harness import read_results

    return read_results(HERE / "results" / f"{name}.json")


def _between(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: begin, by python -m benchmarks.tables -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"there is no place for {name}: {begin} … {end}")
    whole = f"{begin}\n\n{text}\n{end}"
    return pattern.sub(lambda found: whole, page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tables of the READMEs from the results.")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    for path, written in ((README, filled), (FRONT, summarised)):
        before = path.read_text(encoding="utf-8")
        after = written(before)
        if check and before != after:
            raise SystemExit(f"{path.relative_to(HERE.parent)} is stale: python -m benchmarks.tables")
        if not check:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()

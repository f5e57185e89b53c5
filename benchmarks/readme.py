"""The tables of README.md and benchmarks/README.md, written from the results.

python -m benchmarks.readme [--check]     writes them anew from results/*.json
"""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path
from typing import Any

from benchmarks import accuracy, pipeline
from benchmarks.harness import read_results

HERE = Path(__file__).parent
README = HERE / "README.md"
FRONT = HERE.parent / "README.md"
"""The page of the repository, with the summary of the accuracy."""
BENCHMARKS = (
    "accuracy",
    "pipeline",
    "untuned",
    "reasons",
    "new_users",
    "rebuilt",
    "cold",
    "reviews",
    "speed",
    "resume",
)


def filled(readme: str) -> str:
    """The README of the benchmarks with the tables of all results that there are between their markers."""
    for name in BENCHMARKS:
        results = _results(name)
        tables = importlib.import_module(f"benchmarks.{name}").tables(results) if results else []
        readme = _between(readme, name, "\n".join(table.markdown() for table in tables) or "Not measured yet.\n")
    return readme


def summarised(readme: str) -> str:
    """The README of the repository with the summary of the accuracy."""
    tables = (accuracy.summary(_results("accuracy")), pipeline.summary(_results("pipeline")))
    return _between(readme, "summary", "\n".join(table.markdown() for table in tables))


def _results(name: str) -> dict[str, Any]:
    return read_results(HERE / "results" / f"{name}.json")


def _between(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: begin, by python -m benchmarks.readme -->", f"<!-- {name}: end -->"
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
            raise SystemExit(f"{path.relative_to(HERE.parent)} is stale: python -m benchmarks.readme")
        if not check:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()

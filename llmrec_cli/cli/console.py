"""Everything a person sees: results on stdout, all else on stderr; bars only on a terminal, dated lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from llmrec_cli.core import launch
from llmrec_cli.core.errors import INTERRUPTED, LlmrecError
from llmrec_cli.core.printable import printable, printable_json
from llmrec_cli.core.progress import PlainProgress, Task
from llmrec_cli.core.stage import Outcome, Report


class _JsonLines(PlainProgress):
    """`--log-format json`: one object a line, for log collectors."""

    def log(self, text: str) -> None:
        if not self.quiet:
            entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "message": text}
            print(json.dumps(entry), file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, bars: Any, task_id: Any) -> None:
        self.bars, self.task_id = bars, task_id

    def advance(self, n: int = 1, note: str = "") -> None:
        self.bars.update(self.task_id, advance=n, note=note)


class Console:
    """The progress that stages talk to, and the printer of outcomes, tables and errors."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False, log: str = "text") -> None:
        quiet |= not launch.is_first()
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json
        self.lines = (_JsonLines if log == "json" else PlainProgress)(quiet=quiet)
        # isatty and not rich's own guess: with FORCE_COLOR rich would animate into files
        self.interactive = sys.stderr.isatty() and not quiet and log == "text"

    # --- progress -----------------------------------------------------------------------------------------------

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Task]:
        if not self.interactive:
            with self.lines.task(label, total, unit) as task:
                yield task
            return
        from rich.console import Console as Rich
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit + " {task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Rich(stderr=True), transient=True) as bars:
            yield _Bar(bars, bars.add_task(label, total=total, note=""))

    def log(self, text: str) -> None:
        if self.interactive:
            print(printable(text), file=sys.stderr, flush=True)
        else:
            self.lines.log(text)

    # --- results ------------------------------------------------------------------------------------------------

    def outcome(self, outcome: Outcome) -> None:
        """One line for a stage that was skipped; what it has to tell for one that ran."""
        if not outcome.ran:
            self.log(f"{outcome.stage}: {outcome.why}, skipped")
            return
        self.log(f"{outcome.stage}: done ({outcome.why}); cost: {outcome.cost}")
        for line in outcome.report.lines:
            self.log(f"  {line}" if self.interactive else line)
        for warning in outcome.report.warnings:
            self.log(f"  warning: {warning}")

    def finish(self, outcomes: Sequence[Outcome], work: str, following: str = "") -> None:
        """The end of a command: one JSON object with --json, else the next command to type."""
        if self.as_json:
            self.print_json({"work": work, "stages": [_plain(o) for o in outcomes], "next": following})
        elif following:
            self.log(f"next: {following}")

    def estimate(self, stage: str, report: Report) -> None:
        """What a stage would cost: the answer of --dry-run, so on stdout."""
        if self.as_json:
            self.print_json({"stage": stage, "estimate": asdict(report)})
        else:
            self.text([*report.lines, *(f"warning: {warning}" for warning in report.warnings)])

    def print_json(self, value: Any) -> None:
        print(printable_json(json.dumps(value, ensure_ascii=False, default=str)))

    def text(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(printable(line))

    def either(self, lines: Sequence[str], data: Any) -> None:
        """Lines for a person, or with --json the data."""
        self.print_json(data) if self.as_json else self.text(lines)

    def records(self, header: Sequence[str], rows: Sequence[Mapping[str, Any]], data: Any = None) -> None:
        """A table with a column for each value of a row; with --json the rows, or the data that they are part of."""
        if self.as_json:
            self.print_json(rows if data is None else data)
        else:
            self.table(header, [list(row.values()) for row in rows])

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns on stdout, plain enough for grep and awk."""
        cells = [[printable(cell) for cell in row] for row in (header, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    # --- errors -------------------------------------------------------------------------------------------------

    def error(self, error: LlmrecError) -> None:
        """What is wrong, where, how to fix it; as an object on stdout too when --json was asked for."""
        if not _cause():
            return
        if self.as_json:
            message = "\n".join((error.what, *error.table))
            fix = "\n".join((error.fix, *error.ways))
            fields = {"type": type(error).__name__, "message": message, "where": error.where, "fix": fix}
            self.print_json({"error": {"code": error.exit_code, **fields}})
        print("\n".join(map(printable, [f"error: {error.lines[0]}", *error.lines[1:]])), file=sys.stderr, flush=True)

    def bug(self, error: BaseException) -> None:
        if not _cause():
            return
        name = type(error).__name__
        print(printable(f"error: a bug in llmrec: {name}: {error}"), file=sys.stderr)
        print("  fix:   run the same command with --debug and report what it prints", file=sys.stderr, flush=True)

    def interrupted(self) -> None:
        if launch.is_first():
            print(INTERRUPTED, file=sys.stderr)


def _cause() -> bool:
    """Of several processes of one launch, only the one that fails first has something to tell."""
    if launch.processes() == 1:
        return True
    from llmrec_cli.tensors import process_group

    return process_group.is_first_to_fail()


def _plain(outcome: Outcome) -> Mapping[str, Any]:
    return {
        "stage": outcome.stage,
        "status": "done" if outcome.ran else "up to date",
        "why": outcome.why,
        **outcome.cost.describe(),
        **asdict(outcome.report),
    }

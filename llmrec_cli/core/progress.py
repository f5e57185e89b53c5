"""Progress of long work: the protocol, and plain dated lines. Bars for a terminal are in cli/console.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from llmrec_cli.core.printable import printable


class Task(Protocol):
    """One long task; `advance` is cheap enough for every batch."""

    def advance(self, n: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Where stages report what they do. Everything goes to stderr."""

    def task(self, label: str, total: int, unit: str = "") -> AbstractContextManager[Task]: ...

    def log(self, text: str) -> None: ...


class _PlainTask:
    def __init__(self, lines: PlainProgress, label: str, total: int, unit: str) -> None:
        self.lines, self.label, self.total, self.unit = lines, label, total, unit
        self.done, self.start, self.last_line = 0, time.monotonic(), time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last_line >= self.lines.every:
            self.last_line = now
            rate = self.done / max(now - self.start, 1e-9)
            text = f"{self.label}: {self.done:,}/{self.total:,} {self.unit}, {rate:,.0f}/s {note}"
            self.lines.log(text.rstrip())


class PlainProgress:
    """For cron and pipes: at most one dated line every `every` seconds for each task."""

    def __init__(self, every: float = 30.0, quiet: bool = False) -> None:
        self.every, self.quiet = every, quiet

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Task]:
        yield _PlainTask(self, label, total, unit)

    def log(self, text: str) -> None:
        if not self.quiet:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(text)}", file=sys.stderr, flush=True)


def sparkline(values: list[float]) -> str:
    """A learning curve in one line of text."""
    bars, low, high = "▁▂▃▄▅▆▇█", min(values), max(values)
    return "".join(bars[int((value - low) / ((high - low) or 1) * (len(bars) - 1))] for value in values)

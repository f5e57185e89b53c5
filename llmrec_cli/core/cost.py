"""What work costs: wall time, processor time and peak memory, as the operating system counts them."""

from __future__ import annotations

import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """`core_seconds` are those of all threads and finished child processes; `peak_memory` is in bytes, that of this
    process plus the largest of its children."""

    seconds: float = 0.0
    core_seconds: float = 0.0
    peak_memory: int = 0
    peak_is_own: bool = True
    """False where the peak may be that of earlier work in this process."""

    def describe(self) -> dict[str, float]:
        """As it stands in records and in --json."""
        return {
            "seconds": round(self.seconds, 3),
            "core_seconds": round(self.core_seconds, 3),
            "peak_memory_mb": self.peak_memory >> 20,
        }

    @property
    def wall(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        long = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
        return long if hours or minutes else f"{self.seconds:.1f} s"

    def __str__(self) -> str:
        cores = f"{self.core_seconds:,.0f}" if self.core_seconds >= 10 else f"{self.core_seconds:.1f}"
        peak = f"{self.peak_memory / 1e9:.1f} GB peak" + ("" if self.peak_is_own else " so far")
        return f"{self.wall} wall, {cores} core-seconds, {peak}"


NO_COST = Cost()


class Meter:
    """Measures from its creation on; `read()` as often as wanted."""

    def __init__(self) -> None:
        self.own_peak = _reset_peak()
        self.started, self.worked, self.children = time.monotonic(), _core_seconds(), _peak_of_children()

    def read(self) -> Cost:
        seconds, worked = time.monotonic() - self.started, _core_seconds() - self.worked
        children = _peak_of_children()  # the system keeps only the maximum: without a rise, they had less
        return Cost(seconds, worked, _peak_memory() + (children if children > self.children else 0), self.own_peak)


def _core_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def _reset_peak() -> bool:
    """Reset the kernel's peak of this process (proc(5), clear_refs); False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_memory() -> int:
    """Highest resident memory of this process in bytes since the last reset, or since its start."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        found = None
    if found:
        return int(found[1]) << 10
    return _max_rss(resource.RUSAGE_SELF)


def _peak_of_children() -> int:
    """Highest resident memory in bytes of any finished child process."""
    return _max_rss(resource.RUSAGE_CHILDREN)


def _max_rss(who: int) -> int:
    highest = resource.getrusage(who).ru_maxrss
    return highest if sys.platform == "darwin" else highest << 10  # macOS counts bytes, others KiB

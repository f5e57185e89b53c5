"""Counts real targets and seconds of training steps after a warm-up, until a time limit."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Call `start` before the first step of an epoch and `step` after each; time between epochs is not counted."""

    limit: float
    """Seconds of training to measure."""
    warmup_steps: int = 3
    warmup_seconds: float = 5.0
    targets: int = 0
    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    faults: int = 0
    _warm: bool = False
    _done_before: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _last: tuple[float, float, int] = (0.0, 0.0, 0)

    def start(self) -> None:
        self._last = _now()

    def step(self, targets: int) -> bool:
        """Count one step with so many targets that are no padding; True when there is nothing left to measure."""
        seconds, cpu_seconds, faults = (now - then for now, then in zip(_now(), self._last, strict=True))
        if self._warm:
            self.targets += targets
            self.steps += 1
            self.seconds += seconds
            self.cpu_seconds += cpu_seconds
            self.faults += faults
        else:
            self._done_before += 1
            warm_for = time.monotonic() - self._begun
            self._warm = self._done_before >= self.warmup_steps and warm_for >= self.warmup_seconds
        self.start()
        return self.seconds >= self.limit

    def report(self, **versions: str) -> str:
        """One line of JSON, the last that a peer's script prints."""
        found = {
            "targets_per_s": self.targets / max(self.seconds, 1e-9),
            "targets": self.targets,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "page_faults": self.faults,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "versions": versions,
        }
        return json.dumps(found)


def _now() -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and minor page faults of this process so far."""
    return time.monotonic(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def read_sequences(path: str) -> list[list[int]]:
    """Histories of a file with one user a line, "item item ...", oldest first."""
    with open(path, encoding="utf-8") as file:
        return [[int(item) for item in line.split()] for line in file]

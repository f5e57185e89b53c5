"""What work on all users would cost, by the cost of the same work on some: measured here, extended in a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from llmrec_cli.core.cost import Cost, Meter
from llmrec_cli.core.records import Report

FEW, MORE, MOST, SHARE = 100, 200, 4_000, 12
"""Users of a small measurement; those of a larger one, from and to, and between these a part of all."""


class Part(NamedTuple):
    """Work as it was measured, or as it would be: with so many bytes written, for so many users; 0 is not measured."""

    users: int
    cost: Cost
    size: float = 0.0

    def times(self, n: float) -> Part:
        """So often, one after the other: memory stays."""
        cost = replace(self.cost, seconds=self.cost.seconds * n, core_seconds=self.cost.core_seconds * n)
        return Part(self.users, cost, self.size * n)

    def then(self, other: Part) -> Part:
        """One after the other: memory is that of the larger."""
        mine, its = self.cost, other.cost
        seconds, core_seconds = mine.seconds + its.seconds, mine.core_seconds + its.core_seconds
        cost = Cost(seconds, core_seconds, max(mine.peak_memory, its.peak_memory))
        return Part(max(self.users, other.users), cost, self.size + other.size)

    def holding(self, memory: float) -> Part:
        """With so many bytes of memory more."""
        return self._replace(cost=replace(self.cost, peak_memory=self.cost.peak_memory + int(memory)))

    def report(self, counts: Mapping[str, int]) -> Report:
        """In words and figures; `counts` are the rows of what is read and made."""
        rows = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
        cost = f"about {self.cost}, {self.size / 1e6:,.1f} MB of artifacts"
        metrics = {**self.cost.describe(), "artifact_mb": round(self.size / 1e6, 3)}
        how = f"; measured with {self.users:,} users" if self.users else ""
        return Report(dict(counts), metrics, [rows, cost + how])


def measured(users: int, work: Callable[[], float]) -> Part:
    """Do it for so many users; it returns the bytes that it writes."""
    meter = Meter()
    size = work()
    return Part(users, meter.read(), size)


def line(few: Part, more: Part, users: float) -> Part:
    """The same work for `users`: time is on the straight line through two measurements, where that rises.

    Bytes go by a power of the users: items and their neighbours are soon all there. Memory is that of the larger
    measurement, for work goes in blocks; what is held of all users is to be added (`holding`).
    """
    if more.users <= few.users:
        return more
    beyond, times = (users - more.users) / (more.users - few.users), users / more.users
    ends = (each.cost for each in (few, more))
    low, high = ((cost.seconds, cost.core_seconds) for cost in ends)
    seconds, core_seconds = (b + max(0.0, b - a) * beyond for a, b in zip(low, high, strict=True))
    power = math.log(max(more.size, 1) / max(few.size, 1)) / math.log(more.users / few.users)
    cost = Cost(seconds, core_seconds, more.cost.peak_memory)
    return Part(more.users, cost, more.size * times ** min(max(power, 0.0), 1.0))


def once(first: Part, again: Part) -> Part:
    """What the first time alone costs."""
    seconds, core_seconds = first.cost.seconds - again.cost.seconds, first.cost.core_seconds - again.cost.core_seconds
    return Part(first.users, Cost(max(0.0, seconds), max(0.0, core_seconds)))


def by_some(work: Callable[[int], float], users: int) -> Part:
    """What `work` would cost for all `users`; it is given fewer, and returns the bytes that it writes."""
    more = min(users, MOST, max(MORE, users // SHARE))
    few = min(more, max(FEW, more // 4))
    first, again, sample = (measured(n, lambda n=n: work(n)) for n in (few, few, more))  # type: ignore[misc]
    return once(first, again).then(line(again, sample, users))

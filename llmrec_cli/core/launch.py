"""The processes that torchrun or `accelerate launch` started together: the first leads, the others help it train."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Protocol


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together, counted from 0."""

    rank: int = 0
    size: int = 1

    @property
    def follows(self) -> bool:
        """A process that writes nothing, prints nothing, and has work in a training only."""
        return self.rank > 0


class Team(Protocol):
    """How the processes of one launch agree. A single process has none."""

    def decide(self, ticket: str) -> None:
        """The leader tells the others which ticket to work on; "" where nothing is to be done."""

    def decision(self) -> str:
        """What the leader decided; waits for it."""

    def training(self) -> AbstractContextManager[None]:
        """Inside, the processes see each other; outside, each is alone."""

    def total(self, value: float) -> float:
        """The sum over all processes, for the leader; waits for all of them. The others only add their own."""

    def first_to_fail(self) -> bool:
        """True for the one process whose error is the cause; the others fail because of it."""


def threads(wanted: int) -> int:
    """The threads that a wish means: 0 is all cores that this process may use, shared with those that a launcher
    started beside it.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def place(environment: Mapping[str, str]) -> Launch:
    """The place that a launcher's variables give; alone where they are absent."""
    return Launch(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))


@cache
def launch() -> Launch:
    """The place of this process, read once: the variables are hidden from libraries outside of a training."""
    return place(os.environ)

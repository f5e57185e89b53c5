"""The processes that `torchrun` or `accelerate launch` started together, as their variables tell it."""

from __future__ import annotations

import os

from llmrec_cli.core.errors import SettingsError


def processes() -> int:
    """How many processes were started together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the first of them: the one that locks, writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def threads(wanted: int) -> int:
    """The threads that a wish means: 0 is all cores that this process may use, shared with those that a launcher
    started beside it.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def require_one(command: str) -> None:
    """SettingsError where several processes were started for a command that is the work of one."""
    if processes() > 1:
        raise SettingsError(
            f"`{command}` runs in one process, and {processes()} were started",
            fix="start it without torchrun, which is for `pretrain`",
        )

"""The processes that `torchrun` or `accelerate launch` started together, by their environment variables."""

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
    """The number of threads to use; 0 means all cores of this process, divided by the processes on this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def require_one(command: str) -> None:
    """SettingsError where several processes were started for a command that runs in one."""
    if processes() > 1:
        raise SettingsError(
            f"`{command}` runs in one process, and {processes()} were started",
            fix="start it without torchrun, which is for `pretrain`",
        )

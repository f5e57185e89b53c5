"""How long `recommend` takes that asks about one user or one item of a finished work directory.

    python -m benchmarks.questions WORK --config configs/retail.toml --user 17048 --item 85123A

Every command is run so many times, in turn with the others; printed are the median seconds on the clock and of the
processor (its own and the system's), the peak memory, and what it was measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from statistics import median

from benchmarks.harness import REPOSITORY, command, stamp


def timed(words: list[str]) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of the processor, and MB at the peak, of a command that ends well."""
    start = time.perf_counter()
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {' '.join(words)}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--item", required=True)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    asked = {
        "user": ["--user", given.user],
        "user, other settings": ["--user", given.user, "--diversity", "0.2"],
        "history": ["--history", given.item],
        "to-item": ["--to-item", given.item],
        "to-users": ["--to-users", given.item],
    }
    where = ["--work", str(given.work.absolute()), "--config", str(given.config.absolute())]
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in asked}
    for _ in range(given.times):
        for name, words in asked.items():
            found[name].append(timed(command("recommend", *words, *where, "--threads", "1")))
    for name, runs in found.items():
        clock, processor, memory = (median(each) for each in zip(*runs, strict=True))
        print(f"{name:22} {clock:6.2f} s on the clock  {processor:5.2f} s of the processor  {memory:6.0f} MB")
    print(json.dumps(stamp()))


if __name__ == "__main__":
    main()

"""Kill `llmrec pretrain` at random moments, run it again, and compare every byte with an uninterrupted run.

python -m benchmarks.resume [--trials 20] [--kills 2]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.data_sets import HERE, REPOSITORY
from benchmarks.harness import ONE_THREAD, Json, say
from benchmarks.tables import Table, show
from llmrec_cli.core.workdir import WorkDir

CONFIG = REPOSITORY / "configs" / "retail.toml"


def measure(trials: int, kills: int, settings: list[str], root: Path) -> Json:
    """`trials` trainings, each killed up to `kills` times after delays drawn from the length of a whole run."""
    shutil.rmtree(root, ignore_errors=True)
    cleaned = WorkDir(root / "cleaned")
    harness.llmrec(cleaned.path, "clean", "--config", CONFIG)
    whole = harness.with_clean_of(cleaned, root / "whole")
    started = time.monotonic()
    finish(whole.path, settings)
    seconds = time.monotonic() - started
    wanted = digests(whole.path)
    say(f"uninterrupted: {seconds:.1f} s, {len(wanted)} files")
    rng = np.random.default_rng(7)
    rows = []
    for trial in range(trials):
        work = harness.with_clean_of(cleaned, root / f"killed-{trial}")
        delays = [round(float(delay), 2) for delay in rng.uniform(0, seconds, kills)]
        killed = [delay for delay in delays if killed_after(delay, work.path, settings)]
        finish(work.path, settings)
        found = digests(work.path)
        differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        rows.append({"trial": trial + 1, "killed_after": killed, "identical": not differing, "differing": differing})
        say(f"trial {trial + 1}: killed after {killed} s, {differing or 'identical'}")
        shutil.rmtree(work.path)
    return {
        "settings": settings,
        "seconds": round(seconds, 1),
        "files": wanted,
        "trials": rows,
        "with": harness.stamp(),
    }


def arguments(settings: list[str]) -> list[str]:
    return ["pretrain", "--config", str(CONFIG), "--threads", "1", *harness.overrides(settings)]


def finish(work: Path, settings: list[str]) -> None:
    harness.llmrec(work, *arguments(settings), environment=ONE_THREAD)


def killed_after(delay: float, work: Path, settings: list[str]) -> bool:
    """Start the training and kill it, with all its children; False where it was done before."""
    process = subprocess.Popen(
        harness.command(*arguments(settings), "--work", work, "--quiet"),
        cwd=REPOSITORY,
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(delay)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def digests(work: Path) -> dict[str, str]:
    """sha256 of every file that `pretrain` leaves, but for the record, which tells of time."""
    folder = work / "pretrain"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "record.json")
    return {path.relative_to(folder).as_posix(): harness.sha256(path) for path in files}


def tables(results: Json) -> list[Table]:
    found = results["retail"]
    trials = found["trials"]
    identical = sum(trial["identical"] for trial in trials)
    kills = [len(trial["killed_after"]) for trial in trials]
    rows = [
        [
            f"{identical} of {len(trials)}",
            str(sum(kills)),
            ", ".join(f"{kills.count(n)}× {n}" for n in sorted(set(kills))),
            str(len(found["files"])),
            f"{found['seconds']:.1f}",
        ]
    ]
    columns = [
        "identical to the uninterrupted run",
        "kills in all",
        "trials by kills",
        "files",
        "seconds of a whole run",
    ]
    return [Table("Killed trainings that went on", columns, rows, left=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kills", type=int, default=2, help="tries to kill each training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, passed to llmrec")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "benchmarks" / "resume")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    given = parser.parse_args()
    found = measure(given.trials, given.kills, given.set, given.work.resolve())
    harness.keep(given.results / "resume.json", "retail", found)
    show(tables({"retail": found}))


if __name__ == "__main__":
    main()

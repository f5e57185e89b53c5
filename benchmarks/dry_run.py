"""What `--dry-run` says that stages cost, beside what they then cost: time, memory, bytes.

python -m benchmarks.dry_run SETTINGS WORK [--name NAME] [--set KEY=VALUE] [--stages train-ranker,recommend]

SETTINGS is a settings file and WORK a finished work directory. Each stage is asked what it costs and run with --force,
each in a process of its own with one thread. `run` begins in an empty folder beside WORK.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks import harness
from benchmarks.data_sets import REPOSITORY
from benchmarks.harness import ONE_THREAD, Json, say
from benchmarks.tables import Table, show
from llmrec_cli.core.disk import size
from llmrec_cli.core.workdir import WorkDir

RESULTS = Path(__file__).parent / "results" / "dry_run.json"
FIGURES = ("seconds", "core_seconds", "peak_memory_mb", "artifact_mb")
COLUMNS = ("wall s", "core-s", "peak MB", "artifacts MB")


def reply(*arguments: str | Path) -> Json:
    """What `llmrec` prints with --json."""
    command = harness.command(*arguments, "--json", "--quiet", "--threads", "1")
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, check=True)
    found: Json = json.loads(done.stdout)
    return found


def compared(stage: str, work: Path, options: list[str]) -> Json:
    """What was said and what it was, and how many times larger the larger is."""
    if stage == "run":
        work = work.with_name(f"{work.name}-run")
        shutil.rmtree(work, ignore_errors=True)
    given = [*options, "--work", str(work)]
    said = reply(stage, "--dry-run", *given)["estimate"]
    ran = [each for each in reply(stage, "--force", *given)["stages"] if each["status"] == "done"]
    was = {name: sum(each[name] for each in ran) for name in ("seconds", "core_seconds")}
    was["peak_memory_mb"] = max(each["peak_memory_mb"] for each in ran)
    written = [work / path for each in ran for path in (WorkDir(work).record(each["stage"]) or {})["outputs"]]
    was["artifact_mb"] = sum(map(size, written)) / 1e6
    says = {name: said["metrics"][name] for name in FIGURES}
    factors = {name: round(max(says[name] / was[name], was[name] / says[name]), 2) for name in FIGURES}
    rounded = {name: round(value, 3) for name, value in was.items()}
    return {"said": says, "was": rounded, "factor": factors, "counts": said["counts"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--name", default="sample")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--stages", type=harness.listed, default=["train-ranker", "recommend"])
    given = parser.parse_args()
    options = ["--config", str(given.settings.resolve()), *harness.overrides(given.set)]
    rows = []
    for stage in given.stages:
        found = compared(stage, given.work.resolve(), options)
        say(f"{given.name}, {stage}: {found['factor']}")
        harness.keep(RESULTS, f"{given.name}, {stage}", found | {"with": harness.stamp()})
        cells = [f"{found['said'][n]:,.1f} / {found['was'][n]:,.1f} ({found['factor'][n]:.2f})" for n in FIGURES]
        rows.append([given.name, stage, *cells])
    show([Table("said / was (factor)", ["set", "stage", *COLUMNS], rows, left=2)])


if __name__ == "__main__":
    main()

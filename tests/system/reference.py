"""What an undisturbed program makes of the small project: the answer that every disturbed one must come to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.system import child, project
from tests.system.child import Finding

THREADS = ("--threads", "1")
AT_ONCE = int(os.environ.get("LLMREC_SYSTEM_AT_ONCE", "2"))


def size(name: str, full: int) -> int:
    """How much of a check is made: LLMREC_SYSTEM_<name>, by default all of it."""
    return int(os.environ.get(f"LLMREC_SYSTEM_{name}", str(full)))


def seed() -> int:
    """What everything random of a check follows from; printed, so that it can be given again."""
    return size("SEED", 15)


@dataclass(frozen=True)
class Reference:
    """A finished project with its backtest, and what is in it."""

    folder: Path
    run: dict[str, str]
    """Contents after `run`."""
    evaluate: dict[str, str]
    """Contents after `evaluate`, which draws the verdict on the page."""
    seconds: tuple[float, float]
    unsteady: frozenset[str]
    """What differs between two undisturbed runs, so that nothing can be said of it."""

    def copy(self, target: Path, *, work: bool = True) -> Path:
        """The project in a new folder, with the work directory as `run` leaves it or without any."""
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.folder / "llmrec.toml", target)
        shutil.copytree(self.folder / "pictures", target / "pictures")
        if work:
            shutil.copytree(self.folder / "finished", target / "work")
        return target

    def wrong(self, work: Path, *, evaluated: bool = False) -> list[str]:
        """The artifacts that are not what an undisturbed run makes."""
        found = project.differences(self.evaluate if evaluated else self.run, project.contents(work))
        return [name for name in found if name not in self.unsteady]


def make(folder: Path, project_seed: int = 1, first: int = 0) -> Reference:
    """Run and backtest a small project twice, once to import what it needs."""
    made = project.make(folder, project_seed, first)
    work, reported = made / "work", folder / "output"
    imported = child.preload(["run", *THREADS], made, reported)
    once = project.contents(work)
    shutil.rmtree(work)
    again = child.run(["run", *THREADS], made, reported)
    assert imported.code == again.code == 0, again.err
    run = project.contents(work)
    shutil.copytree(work, made / "finished")
    backtest = child.run(["evaluate", *THREADS], made, reported)
    assert backtest.code == 0, backtest.err
    evaluated, before = project.contents(work), project.contents(work / "evaluate")
    shutil.rmtree(work / "evaluate")
    assert child.run(["evaluate", *THREADS], made, reported).code == 0
    unsteady = set(project.differences(once, run))
    unsteady |= {f"evaluate/{n}" for n in project.differences(before, project.contents(work / "evaluate"))}
    return Reference(made, run, evaluated, (again.seconds, backtest.seconds), frozenset(unsteady))


def reported(findings: Iterable[Finding], what: str) -> list[Finding]:
    """Print findings as they come, and what they are of; a list of them."""
    print(f"{what}: seed {seed()}", file=sys.stderr, flush=True)
    found = []
    for finding in findings:
        found.append(finding)
        print(f"  {finding}", file=sys.stderr, flush=True)
    return found


def shown(found: list[Finding]) -> str:
    """Findings for an assertion: each kind of what was seen once, with how often."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        kinds.setdefault((finding.kind, finding.seen), []).append(finding)
    return "\n".join(f"{len(every)} × {every[0]}" for every in kinds.values())

"""Kills at random moments: the next run ends as if nothing had been, and nothing of the killed one stays."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.system import child, project
from tests.system.child import Finding, Outcome, Plant, Task
from tests.system.reference import AT_ONCE, THREADS, Reference

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 2.0
"""Seconds that a run may take to end when it is asked to."""
MOST = 3
"""Kills in a row before the run that may end."""


def kill(reference: Reference, folder: Path, count: int, seed: int, plant: Plant | None = None) -> Iterator[Finding]:
    """`count` kills; every chain of them ends with a run that is left alone and has to make up for it."""
    rng, tasks = random.Random(f"kills {seed}"), []
    while count:
        kills = min(count, rng.randint(1, MOST))
        count -= kills
        command = rng.choice(("run", "run", "run", "evaluate"))
        tasks.append(
            _chain(reference, folder / f"chain{len(tasks)}", command, kills, seed=rng.randrange(1 << 30), plant=plant)
        )
    yield from child.together(tasks, AT_ONCE)


def _chain(reference: Reference, folder: Path, command: str, kills: int, *, seed: int, plant: Plant | None) -> Task:
    rng, found, done = random.Random(seed), list[Finding](), list[str]()
    evaluated = command == "evaluate"
    cwd = reference.copy(folder, work=evaluated)
    whole = reference.seconds[evaluated]
    for _ in range(kills):
        stop, after = rng.choice(SIGNALS), rng.uniform(0.0, 1.1 * whole)
        done.append(f"{stop.name} after {after:.2f} of {whole:.2f} s")
        outcome = yield child.start(
            [command, *THREADS], cwd, folder / "output", after=after, stop=stop, limit=child.LIMIT, plant=plant
        )
        found += _of_a_killed(outcome, stop, f"{command}; {done[-1]}")
    how = f"{command}; {'; '.join(done)}; {command} again"
    outcome = yield child.start([command, *THREADS], cwd, folder / "output", limit=4 * child.LIMIT, plant=plant)
    if outcome.code != 0:
        found.append(Finding(outcome.fault or "no end", how, outcome.tail))
    found += [Finding("leftover", how, name) for name in project.leftovers(cwd / "work")]
    if outcome.code == 0 and (wrong := reference.wrong(cwd / "work", evaluated=evaluated)):
        found.append(Finding("other bytes", how, ", ".join(wrong[:8])))
    if not found:
        shutil.rmtree(folder)
    return found


def _of_a_killed(outcome: Outcome, stop: int, how: str) -> list[Finding]:
    """What is wrong with how a run ended that a signal was sent to; one that was over before has just ended."""
    found = [Finding("process left", how, f"{len(outcome.left)} outlived the run")] if outcome.left else []
    if outcome.signalled is None or outcome.code == 0 or stop == signal.SIGKILL:
        return found + ([Finding(outcome.fault, how, outcome.tail)] if outcome.fault else [])
    lines = outcome.err.splitlines()
    # a handler may not be there yet in the first moments: then the signal itself ends the run, with the same code
    if outcome.code != 128 + stop and not (outcome.code == -stop and not lines):
        found.append(Finding("wrong exit", how, outcome.tail))
    elif outcome.code > 0 and not (lines and "interrupted" in lines[-1]):
        found.append(Finding("untold", how, f"exit {outcome.code}, last line: {lines[-1] if lines else ''}"))
    if outcome.signalled > PATIENCE:
        found.append(Finding("slow to end", how, f"{outcome.signalled:.1f} s after {signal.Signals(stop).name}"))
    return found

"""Runs of the program in forked children: begun in milliseconds, limited in time and memory, killed at will."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LIMIT = 30.0
"""Seconds after which a run hangs."""
POLL = 0.002
Plant = Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """Something that must not be: its kind, how to come to it again, and what was seen."""

    kind: str
    how: str
    seen: str

    def __str__(self) -> str:
        return f"{self.kind} | {self.how} | {self.seen}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, −n for signal n, None where it was still going on at the limit."""

    command: str
    code: int | None
    out: str
    err: str
    seconds: float
    signalled: float | None = None
    """Seconds from the signal to the end; None where none was sent."""
    left: tuple[int, ...] = ()
    """Processes that outlived it."""

    @property
    def fault(self) -> str:
        """What no run may do whatever it is given: "" where it did not."""
        if self.code is None:
            return "hang"
        if self.code == 1 or "a bug in llmrec" in self.err or "Traceback (most recent call last)" in self.err:
            return "bug"
        return "crash" if self.code < 0 and self.signalled is None else ""

    @property
    def tail(self) -> str:
        """The line that says most: the bug, the error, or the last one."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        printed = (line for mark in ("a bug in llmrec", "error:") for line in lines if mark in line)
        return f"exit {self.code}: " + next(printed, lines[-1] if lines else "")[:300]


@dataclass
class Running:
    """A child that has not been waited for. `stop` is sent to it after `after` seconds."""

    pid: int
    command: str
    reported: Path
    begun: float
    limit: float
    after: float | None
    stop: int
    sent: float | None = None

    def ended(self) -> Outcome | None:
        """How it ended, or None while it goes on; sends the signals that are due."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        spent = time.monotonic() - self.begun
        if pid:
            return self._outcome(os.waitstatus_to_exitcode(status), spent)
        if self.after is not None and self.sent is None and spent >= self.after:
            os.kill(self.pid, self.stop)
            self.sent = spent
        if spent < self.limit:
            return None
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return self._outcome(None, spent)

    def _outcome(self, code: int | None, spent: float) -> Outcome:
        out, err = ((self.reported / n).read_text(encoding="utf-8", errors="replace") for n in ("stdout", "stderr"))
        signalled = None if self.sent is None else spent - self.sent
        return Outcome(self.command, code, out, err, spent, signalled, tuple(living(self.pid)))


def start(
    arguments: Sequence[str],
    cwd: Path,
    reported: Path,
    *,
    plant: Plant | None = None,
    memory: int = 0,
    limit: float = LIMIT,
    after: float | None = None,
    stop: int = signal.SIGKILL,
) -> Running:
    """Begin `llmrec ARGUMENTS` in `cwd`, with stdout and stderr in the folder `told` and at most `memory` bytes.

    `plant` is called in the child first, to break the program on purpose.
    """
    reported.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    begun, pid = time.monotonic(), os.fork()
    if not pid:
        _be(arguments, cwd, reported, plant, memory)
    return Running(pid, "llmrec " + " ".join(arguments), reported, begun, limit, after, stop)


def _be(arguments: Sequence[str], cwd: Path, reported: Path, plant: Plant | None, memory: int) -> None:
    """Become the program. Never returns."""
    code: int | str | None = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a signal is for the program, not for what stands before it
        os.setsid()
        for target, name in ((0, os.devnull), (1, reported / "stdout"), (2, reported / "stderr")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if target else os.O_RDONLY
            os.dup2(os.open(name, flags), target)
        sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
        os.chdir(cwd)
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        if plant:
            plant()
        sys.argv = ["llmrec", *arguments]
        from llmrec_cli.cli.app import main

        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def living(session: int) -> list[int]:
    """Processes of a child's session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found += [int(entry.name)] if int(fields[3]) == session and fields[0] != "Z" else []
    return found


# --- several at once -------------------------------------------------------------------------------------------------

Task = Generator[Running, Outcome, list[Finding]]
"""Yields the runs that it wants made one after the other, is sent how each ended, and returns what it found."""


def together(tasks: Iterable[Task], at_once: int) -> Iterator[Finding]:
    """What tasks find; some go on at the same time, each with one run."""
    waiting, alive = iter(tasks), dict[int, tuple[Task, Running]]()

    def on(task: Task, outcome: Outcome | None) -> list[Finding]:
        try:
            running = next(task) if outcome is None else task.send(outcome)
        except StopIteration as end:
            return list(end.value)
        alive[running.pid] = (task, running)
        return []

    more = True
    while more or alive:
        while more and len(alive) < at_once:
            task = next(waiting, None)
            more = task is not None
            if task is not None:
                yield from on(task, None)
        quiet = True
        for pid, (task, running) in list(alive.items()):
            if outcome := running.ended():
                quiet = False
                del alive[pid]
                yield from on(task, outcome)
        if quiet:
            time.sleep(POLL)


def run(arguments: Sequence[str], cwd: Path, reported: Path, *, plant: Plant | None = None) -> Outcome:
    """One run, waited for."""
    running = start(arguments, cwd, reported, plant=plant, limit=10 * LIMIT)
    while not (outcome := running.ended()):
        time.sleep(POLL)
    return outcome


def preload(arguments: Sequence[str], cwd: Path, reported: Path) -> Outcome:
    """Run the program once, then import here what that run had to import, so that later children need not."""
    names = reported / "modules"

    def remember() -> None:
        before, leave = set(sys.modules), os._exit

        def noted(code: int) -> None:
            names.write_text("\n".join(sorted(set(sys.modules) - before)), encoding="utf-8")
            leave(code)

        vars(os)["_exit"] = noted

    done = run(arguments, cwd, reported, plant=remember)
    for name in names.read_text(encoding="utf-8").splitlines():
        with suppress(Exception):
            importlib.import_module(name)
    return done

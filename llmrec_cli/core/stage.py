"""What every stage is, and what none does for itself: the ticket, the skip, the check of its outputs, the record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llmrec_cli.core.artifacts import Artifact
from llmrec_cli.core.cost import NO_COST, Cost, Meter
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.launch import threads
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.readonly import ReadOnly, read_only
from llmrec_cli.core.records import FORMAT, Json, Report
from llmrec_cli.core.registry import plugin_code
from llmrec_cli.core.ticket import Source, contents, difference, ticket_of
from llmrec_cli.core.version import __version__
from llmrec_cli.core.workdir import WorkDir

__all__ = [
    "NOT_RUN",
    "Context",
    "Outcome",
    "Report",
    "Stage",
    "State",
    "estimate",
    "execute",
    "state",
]


NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Context:
    """What a stage needs besides its own settings; only the seed, `finish` and the threads change a result."""

    seed: int
    base: Path
    """Folder that relative paths in the settings start from."""
    progress: Progress
    device: str = "auto"
    threads: int = 0
    """0 means all cores."""
    max_memory: int = 4 << 30
    """Bytes that blocks of scores and the table engine may take together."""
    ticket: str = ""
    finish: bool = False
    """Settle for what an interrupted training has reached."""
    named: frozenset[str] = frozenset()
    """Classes outside of the program ("module:Class") that the settings name; a work directory may name no other."""


@dataclass(frozen=True)
class Stage:
    """One subcommand: what it reads and writes, and the function that does it."""

    name: str
    config: type[BaseModel]
    reads: tuple[Artifact, ...]
    writes: tuple[Artifact, ...]
    run: Callable[[WorkDir, Any, Context], Report]
    sources: Callable[[WorkDir, Any, Path], Iterable[Source]] = lambda work, config, base: ()
    """Files outside of the work directory whose content the stage depends on; asked when its inputs are whole."""
    facts: Callable[[WorkDir, Any, Context], dict[str, str]] = lambda work, config, context: {}
    """What else the result depends on, in words -> what it is now."""
    ready: Callable[[Any, Context], object] = lambda config, context: None
    """Raises what is wrong with the variants, models and files that the settings name, before any stage works."""
    revision: int = 1
    """Raised when the stage's results change for the same input, so that old outputs are not taken for fresh."""
    threaded: bool = False
    """Other numbers of threads give other bytes: sums of floats are added in another order."""
    estimate: Callable[[ReadOnly, Any, Context], Report] | None = None
    """What `run` would cost, by a part of it, measured; its writes go nowhere."""


@dataclass(frozen=True)
class State:
    """Whether a stage is up to date, and if not, why."""

    stage: str
    fresh: bool
    why: str
    ticket: str
    parts: Json
    """What the ticket is made of."""
    touched: bool = False
    """An output was written to from outside since, without a change of its content."""


@dataclass(frozen=True)
class Outcome:
    """What `execute` did: `ran` is False where the stage was up to date."""

    stage: str
    ran: bool
    why: str
    report: Report
    cost: Cost = NO_COST


def ticket_parts(stage: Stage, work: WorkDir, config: BaseModel, context: Context) -> Json:
    """Everything the result depends on; UpstreamError for an input that is missing, damaged or stale."""
    inputs = verified_inputs(work, stage.reads)
    settings = config.model_dump(mode="json")
    plugged = {f"the code of {module}": sha256 for module, sha256 in plugin_code(settings).items()}
    return {
        "settings": settings,
        "seed": context.seed,
        "inputs": inputs,
        "sources": contents(stage.sources(work, config, context.base)),
        "code": f"{__version__}/{stage.name}/{stage.revision}",
        "facts": {**stage.facts(work, config, context), **plugged},
        "threads": threads(context.threads) if stage.threaded else None,
    }


def state(stage: Stage, work: WorkDir, config: BaseModel, context: Context) -> State:
    """Compare the signed record with the world as it is; UpstreamError for an input that cannot be used."""
    parts = ticket_parts(stage, work, config, context)
    ticket = ticket_of(parts)
    record = work.record(stage.name)
    why = work.record_problem(stage.name) or NOT_RUN
    touched = False
    if record is not None:
        why = difference(record["parts"], parts) if record["ticket"] != ticket else _changed(stage, work, record)
        if not why and (n := record.get("forgot", 0)):
            why = f"it has learned from people who were forgotten since ({n:,})"
        touched = not why and any(
            (work.path / name).stat().st_mtime_ns != kept["mtime_ns"] for name, kept in record["outputs"].items()
        )
    return State(stage.name, not why, why or "up to date", ticket, parts, touched)


def _changed(stage: Stage, work: WorkDir, record: Json) -> str:
    """Which output is not as it was signed; empty where all are."""
    for artifact in stage.writes:
        kept = record["outputs"].get(artifact.path)
        if kept is None and os.path.lexists(work.where(artifact)):
            return f"{artifact.path} was put there by hand"
        if kept and not work.has(artifact):
            return f"{artifact.path} is gone"
        if kept and work.fingerprint(artifact) != kept["sha256"]:
            return f"{artifact.path} was changed by hand"
    return ""


def execute(
    stage: Stage,
    work: WorkDir,
    config: BaseModel,
    context: Context,
    *,
    force: bool = False,
    begin: Callable[[], object] = lambda: None,
) -> Outcome:
    """Run the stage unless it is up to date; sign the record last. The caller holds the lock.

    `begin` is called before the stage works, where it has to.
    """
    now = state(stage, work, config, context)
    if now.fresh and not force:
        work.clear_scratch(stage.name)  # of a run that was killed after it had signed
        why = "up to date (an output was touched, its content is unchanged)" if now.touched else now.why
        return Outcome(stage.name, False, why, _report_of(work.record(stage.name)))
    begin()
    parts = ticket_parts(stage, work, config, context)  # again: a model that was fetched is an input now
    now = replace(now, ticket=ticket_of(parts), parts=parts)
    meter = Meter()
    before = {a.path: _written(work, a) for a in stage.writes if a.optional}
    report = stage.run(work, config, replace(context, ticket=now.ticket))
    _check_written(stage, work, before)
    cost = meter.read()
    record = {
        "format": FORMAT,
        "stage": stage.name,
        "ticket": now.ticket,
        "parts": now.parts,
        "outputs": _outputs(stage.writes, work),
        "report": asdict(report),
        **cost.describe(),
    }
    work.sign(stage.name, record)
    work.clear_scratch(stage.name)
    return Outcome(stage.name, True, "forced" if now.fresh else now.why, report, cost)


def _check_written(stage: Stage, work: WorkDir, before: Mapping[str, int | None]) -> None:
    """What the stage must write is there; what it may write and did not, left over from an earlier run, is removed."""
    for artifact in stage.writes:
        if not artifact.optional:
            work.need(artifact)
        elif _written(work, artifact) == before[artifact.path]:
            work.remove(artifact)


def estimate(stage: Stage, work: WorkDir, config: BaseModel, context: Context) -> Report:
    """Whether the stage would run, why, and what it would cost. Changes nothing; SettingsError where it cannot tell."""
    if stage.estimate is None:
        raise SettingsError(f"`{stage.name}` cannot estimate what it costs", fix="leave out --dry-run")
    now = state(stage, work, config, context)
    with read_only(work, own_scratch=True) as reader:
        found = stage.estimate(reader, config, context)
    return replace(found, lines=[now.why if now.fresh else f"not up to date: {now.why}", *found.lines])


def _outputs(artifacts: Iterable[Artifact], work: WorkDir) -> dict[str, Json]:
    """Fingerprint and time of those that were written."""
    return {
        a.path: {"sha256": work.fingerprint(a), "mtime_ns": work.where(a).stat().st_mtime_ns}
        for a in artifacts
        if work.has(a)
    }


def _written(work: WorkDir, artifact: Artifact) -> int | None:
    return work.where(artifact).stat().st_mtime_ns if work.has(artifact) else None


def _report_of(record: Mapping[str, Any] | None) -> Report:
    return Report(**record["report"]) if record else Report()

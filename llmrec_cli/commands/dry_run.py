"""What a run would cost: stages are measured where their inputs are there, and the others estimated as by `init`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmrec_cli import pipeline
from llmrec_cli.commands.proposals import CORES, Shape, part_of
from llmrec_cli.core.config import Settings
from llmrec_cli.core.cost import Cost
from llmrec_cli.core.errors import LlmrecError
from llmrec_cli.core.forecast import Part
from llmrec_cli.core.records import Report
from llmrec_cli.core.stage import Context, State
from llmrec_cli.core.workdir import WorkDir

MEASURED = ("pretrain", "train-ranker", "recommend")


def forecast(work: WorkDir, settings: Settings, context: Context, names: Sequence[str], *, force: bool) -> Report:
    """What the stages that are not up to date would cost, one line each, and all together.

    Who follows a stage that has to work is taken to work too. Nothing is changed; raises what keeps `clean` from it.
    """
    total, lines, working = Part(0, Cost()), [], force
    counts = {"users": 0, "items": 0, "events": 0}
    for stage, now in pipeline.states(work, settings, context):
        if stage.name == "clean":
            counts = _counts(work, settings, context, now, force=force)
        if stage.name not in names:
            continue
        working |= not isinstance(now, State) or not now.fresh
        if not working:
            lines.append(f"{stage.name}: up to date")
            continue
        n_events, n_items = counts["events"], counts["items"]
        shape = Shape(n_events, counts["users"], n_items, n_events, 0, 0, 0, 0, n_items)
        part, how = part_of(stage.name, shape, {}, context.threads or CORES), "by the size of the log"
        if isinstance(now, State) and stage.name in MEASURED:
            part, how = _measured(pipeline.estimated(work, settings, context, stage.name), part), "measured"
            how += ", with all epochs" if stage.name == "pretrain" else ""
        lines.append(f"{stage.name}: about {part.cost}, {part.size / 1e6:,.1f} MB of artifacts ({how})")
        total = total.then(part)
    k = settings.section("recommend", pipeline.load("recommend").config).k
    report = total._replace(users=0).report({**counts, "list_rows": counts["users"] * k})
    return replace(report, lines=[*lines, *report.lines])


def _counts(
    work: WorkDir, settings: Settings, context: Context, now: State | LlmrecError, *, force: bool
) -> dict[str, int]:
    """Users, items and events: as `clean` reported, or would by a look at the log."""
    if isinstance(now, LlmrecError):
        raise now
    record = work.record("clean") if now.fresh and not force else None
    found = record["report"]["counts"] if record else pipeline.estimated(work, settings, context, "clean").counts
    return {name: found[name] for name in ("users", "items", "events")}


def _measured(found: Report, otherwise: Part) -> Part:
    """What a stage estimates of itself; memory and bytes as `otherwise` where it says nothing of them."""
    metrics = {"peak_memory_mb": otherwise.cost.peak_memory >> 20, "artifact_mb": otherwise.size / 1e6} | found.metrics
    cost = Cost(metrics["seconds"], metrics["core_seconds"], int(metrics["peak_memory_mb"]) << 20)
    return Part(0, cost, 1e6 * metrics["artifact_mb"])

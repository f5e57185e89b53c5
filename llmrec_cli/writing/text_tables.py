"""Tables of texts: who gets one and from which facts, drafts that survive a kill, the account of checks and cost."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import Table
from llmrec_cli.core.stage import Context, Report
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.writing.checked import checked, write_until_valid
from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.writers import Draft, Estimates, Writer
from llmrec_cli.writing.writers.template import TemplateWriter

BLOCK = 8192
"""Texts held in memory at a time."""


@dataclass(frozen=True)
class Effort:
    """What a language model may do for a table."""

    texts: int
    """So many it writes, the most important first."""
    batch_size: int
    tries: int
    """Drafts of a text until the template writes it."""


@dataclass(frozen=True)
class Job:
    """One table of texts: who gets one, and where their facts come from."""

    table: Table
    ids: pa.ChunkedArray[Any]
    chosen: Ints
    """Rows that get a text, the most important first."""
    facts: Callable[[Ints], Sequence[Facts]]

    @property
    def name(self) -> str:
        return self.table.name


def write(work: WorkDir, job: Job, writer: Writer, effort: Effort, context: Context) -> Counter[tuple[str, str]]:
    """Write the table of one job in the order of its ids, block by block; how often each (first writer, check) was."""
    template = TemplateWriter()
    drafts = {} if writer.name == template.name else drafted(work, job, writer, effort, context)
    rows = np.sort(job.chosen)
    checks: Counter[tuple[str, str]] = Counter()
    with work.writer(job.table) as append, context.progress.task(f"generate {job.name}", len(rows), "texts") as task:
        for block in (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)):
            facts = job.facts(block)
            by_template = template.write(facts)
            best = [drafts.get(row, draft) for row, draft in zip(block.tolist(), by_template, strict=True)]
            texts = checked(best, facts, template)
            ids = job.ids.take(block).to_pylist()
            written = [{job.table.key[0]: name, **asdict(text)} for name, text in zip(ids, texts, strict=True)]
            append(pa.Table.from_pylist(written, schema=job.table.schema))
            checks.update((draft.writer, text.check) for draft, text in zip(best, texts, strict=True))
            task.advance(len(block))
    return checks


def drafted(work: WorkDir, job: Job, writer: Writer, effort: Effort, context: Context) -> dict[int, Draft]:
    """Row -> draft of a slow writer for the most important rows. Finished batches are kept: a killed run continues."""
    rows = job.chosen[: effort.texts]
    folder = work.scratch("generate", context.ticket)
    found: dict[int, Draft] = {}
    with context.progress.task(f"generate {job.name} by {writer.name}", len(rows), "texts") as task:
        for start in range(0, len(rows), effort.batch_size):
            batch = rows[start : start + effort.batch_size]
            shard = folder / f"{job.name}-{start:08d}.json"
            if not shard.exists():
                _put(shard, [asdict(draft) for draft in write_until_valid(writer, job.facts(batch), effort.tries)])
            drafts = [Draft(**fields) for fields in json.loads(shard.read_text(encoding="utf-8"))]
            found |= dict(zip(batch.tolist(), drafts, strict=True))
            task.advance(len(batch))
    return found


def _put(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, path)


def report_checks(report: Report, job: Job, checks: Counter[tuple[str, str]]) -> None:
    """How many texts each writer wrote, how many of them passed, and what was most often wrong with the others."""
    report.counts[job.name] = checks.total()
    for name in sorted({writer for writer, _ in checks}):
        mine = Counter({check: n for (writer, check), n in checks.items() if writer == name})
        passed = mine.pop("passed", 0)
        line = f"{job.name}: {passed + mine.total():,} by {name}, {passed:,} passed the check"
        if mine:
            faults: Counter[str] = Counter()
            for check, n in mine.items():
                faults[check.removeprefix("replaced: ").partition(":")[0]] += n
            line += f", {mine.total():,} replaced ({'; '.join(f'{why} {n}' for why, n in faults.most_common(3))})"
        report.lines.append(line)
        report.metrics[f"{job.name}.{name}.pass_rate"] = passed / max(passed + mine.total(), 1)


def report_cost(report: Report, job: Job, writer: Writer | None, effort: Effort, *, by_model: bool) -> None:
    """How many texts there would be, and what the drafts of a writer that can tell would cost at least."""
    rows = job.chosen[: effort.texts] if by_model else job.chosen[:0]
    line = f"{job.name}: {len(job.chosen):,} texts, {len(rows):,} of them by a language model"
    if isinstance(writer, Estimates):
        found = writer.expected(job.facts(rows))
        line += (
            f": {found.calls:,} calls, {len(rows) - found.calls:,} answers known; about {found.prompt_tokens:,} tokens "
            f"of prompts, at most {found.answer_tokens:,} of answers; cost about {found.cost:,.4f}, "
            f"{effort.tries} times that where every draft is refused"
        )
        for name, value in asdict(found).items():
            report.metrics[f"{job.name}.{name}"] = value
    report.counts[job.name] = len(job.chosen)
    report.lines.append(line)

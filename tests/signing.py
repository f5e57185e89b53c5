"""Records for artifacts that a test wrote itself, so that the stages after them take these for whole."""

from __future__ import annotations

import pyarrow as pa

from llmrec_cli import pipeline
from llmrec_cli.core.artifacts import Table
from llmrec_cli.core.records import FORMAT
from llmrec_cli.core.workdir import WorkDir

BY_HAND = "by hand"


def vouch(work: WorkDir) -> WorkDir:
    """Sign what lies there for every stage that has not run itself, in the order of the stages."""
    for name in pipeline.STAGES:
        record = work.record(name)
        if record is None or record["ticket"] == BY_HAND:
            _sign(work, name)
    return work


def rewrite(work: WorkDir, table: Table, data: pa.Table) -> None:
    """Give a finished table another content, and have the record of its maker vouch for that."""
    record = work.record(table.stage)
    assert record is not None
    work.write(table, data)
    output = {"sha256": work.fingerprint(table), "mtime_ns": work.where(table).stat().st_mtime_ns}
    work.sign(table.stage, {**record, "outputs": record["outputs"] | {table.path: output}})


def _sign(work: WorkDir, name: str) -> None:
    stage = pipeline.load(name)
    outputs = {
        artifact.path: {"sha256": work.fingerprint(artifact), "mtime_ns": work.where(artifact).stat().st_mtime_ns}
        for artifact in stage.writes
        if work.has(artifact)
    }
    inputs = {artifact.path: work.fingerprint(artifact) if work.has(artifact) else None for artifact in stage.reads}
    parts = {"settings": {}, "seed": 0, "inputs": inputs, "sources": {}, "code": BY_HAND, "facts": {}, "threads": None}
    report = {"counts": {}, "metrics": {}, "lines": [], "warnings": [], "timings": {}}
    cost = {"seconds": 0.0, "core_seconds": 0.0, "peak_memory_mb": 0}
    made = {"format": FORMAT, "stage": name, "ticket": BY_HAND, "parts": parts, "outputs": outputs, "report": report}
    if outputs:
        work.sign(name, {**made, **cost})

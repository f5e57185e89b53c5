"""Checks that artifacts are as their stage signed them and were made from the inputs that are here now."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from llmrec_cli.core.artifacts import Artifact, Table
from llmrec_cli.core.config import STAGES
from llmrec_cli.core.workdir import WorkDir, to_numpy

Inputs = dict[str, str | None]


def verified_inputs(work: WorkDir, artifacts: Iterable[Artifact]) -> Inputs:
    """sha256 of each artifact by path; None for an optional one that was never made.

    UpstreamError for one that is missing, is in no valid record, differs from its signed content, or was made from
    other inputs than those in the work directory; it names the first stage that has to run again.
    """
    wanted, visited = list(artifacts), set[str]()
    found: Inputs = {}
    # in the order of the stages: an invalid record does not say what its artifacts were made from
    for artifact in sorted(wanted, key=lambda each: STAGES.index(each.stage)):
        _check_chain(work, artifact.stage, visited)
        found[artifact.path] = _verified_sha256(work, artifact)
    return {artifact.path: found[artifact.path] for artifact in wanted}


def aligned(work: WorkDir, table: Table, ids: pa.ChunkedArray) -> Any:
    """(ids, d) the column `vector` of a table whose key is one column, in the order of these ids.

    UpstreamError where its ids are others: item codes count rows, so one row more or less shifts every vector.
    """
    (key,) = table.key
    found = work.read(table, [key, "vector"])
    if not found.column(key).equals(ids):
        raise work.upstream(f"{table.path} is of other rows than are asked for: its ids differ", table.stage)
    return to_numpy(found.column("vector")).reshape(len(ids), -1)


def _check_chain(work: WorkDir, stage: str, visited: set[str]) -> None:
    """Check that a stage was made from the inputs that their own records list, and so on back to the log."""
    if stage in visited:
        return
    visited.add(stage)
    record = work.record(stage)
    inputs: Inputs = record["parts"]["inputs"] if record else {}
    for path in sorted(inputs):  # all of them before any is compared: the first stage of the chain is to be named
        _check_chain(work, path.partition("/")[0], visited)
    for path, sha256 in sorted(inputs.items()):
        maker = path.partition("/")[0]
        if _signed_sha256(work, maker, path) != sha256:
            raise work.upstream(f"{stage} was made from another {path.removesuffix('.parquet')}", stage)


def _verified_sha256(work: WorkDir, artifact: Artifact) -> str | None:
    sha256 = _signed_sha256(work, artifact.stage, artifact.path)
    if not work.has(artifact):
        if artifact.optional and sha256 is None and not os.path.lexists(work.where(artifact)):
            return None
        if sha256 is not None and not os.path.lexists(work.where(artifact)):
            raise work.upstream(f"{artifact.path} is gone: `{artifact.stage}` had made it", artifact.stage)
        work.need(artifact)
    if sha256 is None:
        why = work.record_problem(artifact.stage)
        what = f"{artifact.path} has no record that vouches for it" + (f": {why}" if why else "")
        raise work.upstream(what, artifact.stage)
    if work.fingerprint(artifact) != sha256:
        raise work.upstream(f"{artifact.path} is damaged or was changed by hand", artifact.stage)
    return sha256


def _signed_sha256(work: WorkDir, stage: str, path: str) -> str | None:
    """The sha256 in the record of the stage; None where it lists none."""
    record = work.record(stage)
    output = record["outputs"].get(path) if record else None
    return str(output["sha256"]) if output else None

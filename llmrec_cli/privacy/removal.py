"""Taking people out of a work directory: its tables, leftovers, exports, records. Models and page come elsewhere."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmrec_cli.core.artifacts import REGISTRY, REJECTS, Artifact, Forgets, Table
from llmrec_cli.core.chat_server import ANSWERS
from llmrec_cli.core.columns import USER
from llmrec_cli.core.pseudonyms import LIST
from llmrec_cli.core.records import Json
from llmrec_cli.core.ticket import ticket_of
from llmrec_cli.core.workdir import SHARDS, WorkDir
from llmrec_cli.ingest.appended import LIST as APPENDED
from llmrec_cli.ingest.appended import PARSED

RECORD, RECEIPTS, SCRATCH, TEMPORARY = "record.json", "receipts", ".scratch", ".tmp-"
KEPT = (SCRATCH, SHARDS, ANSWERS, PARSED)
"""Folders that hold what is in no artifact."""
OWN = {RECORD, LIST, APPENDED, ".lock", ".lock-holder"}
STAGES = frozenset(artifact.stage for artifact in REGISTRY)
TABLES = tuple(a for a in REGISTRY if isinstance(a, Table) and a.forgets is Forgets.ROWS)
TOKEN = re.compile(rb"[^\s\"',;|:<>(){}\[\]\\]+")
"""What may be an id in a file of unknown kind."""


@dataclass
class Change:
    """What was done to one work directory; `rows` taken out by artifact, fingerprints before and after."""

    rows: dict[str, int] = field(default_factory=dict)
    prints: dict[str, tuple[str, str]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    """Artifacts that could not be repaired, or that nobody knows to hold nothing of people."""
    found: set[str] = field(default_factory=set)
    """Ids that were there."""
    learned_from: set[str] = field(default_factory=set)
    """Those of them that are not only among the rejected rows."""
    stale: list[str] = field(default_factory=list)
    """Stages whose results were made with them."""


# --- where ------------------------------------------------------------------------------------------------------------


def places(work: WorkDir) -> list[WorkDir]:
    """The work directory and every one inside it, such as those of backtests."""
    names = {Path(a.path).name for a in REGISTRY} | {RECORD, SCRATCH}
    found = {work.path}
    for folder, folders, files in os.walk(work.path):
        here = Path(folder)
        if here.name in STAGES and here != work.path and names & {*folders, *files}:
            found.add(here.parent)
        folders[:] = [each for each in folders if each != SCRATCH and not each.startswith(TEMPORARY)]
    return [WorkDir(path) for path in sorted(found)]


def leftovers(work: WorkDir) -> list[Path]:
    """What lies beside the artifacts in all places: scratch folders, answers of chat servers, temporary files."""
    found = []
    for folder, folders, files in os.walk(work.path):
        found += [Path(folder) / name for name in (*folders, *files) if name in KEPT or name.startswith(TEMPORARY)]
        folders[:] = [each for each in folders if each not in KEPT and not each.startswith(TEMPORARY)]
    return sorted(found)


# --- tables -----------------------------------------------------------------------------------------------------------


def ids_in(work: WorkDir, tables: Iterable[Table] = TABLES) -> set[str]:
    """Every user id in these tables; one that cannot be read has none."""
    found: set[str] = set()
    for table in tables:
        column = _users(work, table)
        if column is not None:
            found.update(column.unique().drop_null().to_pylist())
    return found


def take_out(work: WorkDir, ids: Collection[str], change: Change) -> None:
    """Take the rows of people out of every table; a table that cannot be read is removed: nobody knows whose it is."""
    wanted = pa.array(sorted(ids), pa.string())
    for table in TABLES:
        if not work.where(table).exists():
            continue
        column = _users(work, table)
        if column is None:
            remove(work, table, change)
            continue
        theirs = column.filter(pc.is_in(column, value_set=wanted))
        if not len(theirs) and table is not REJECTS:
            continue
        people = set(theirs.unique().to_pylist())
        change.found |= people
        change.learned_from |= people if table is not REJECTS else set()
        if people:
            change.rows[table.path] = len(theirs)
        if _whole(work, table):
            with changing(work, table, change):
                _rewrite(work, table, wanted)
        else:
            remove(work, table, change)


def _rewrite(work: WorkDir, table: Table, wanted: pa.Array) -> None:
    with work.writer(table) as append:
        for piece in work.batches(table):
            others = pc.invert(pc.is_in(piece.column(USER), value_set=wanted))
            rows = pa.Table.from_batches([piece.filter(others)])
            if table is REJECTS:  # nobody knows whose rows those are that could not be read
                unread = pc.equal(rows.column("reason"), "unparsable")
                raw = pc.if_else(unread, pa.scalar(None, pa.string()), rows.column("raw"))
                rows = rows.set_column(rows.column_names.index("raw"), "raw", raw)
            append(rows)


@contextmanager
def changing(work: WorkDir, artifact: Artifact, change: Change) -> Iterator[None]:
    """Note the fingerprint of an artifact before and after the block."""
    before = work.fingerprint(artifact)
    yield
    change.prints[artifact.path] = (before, work.fingerprint(artifact))


def remove(work: WorkDir, artifact: Artifact, change: Change) -> None:
    """Remove an artifact, and the record of the stage that has to make it again."""
    work.unsign(artifact.stage)
    work.remove(artifact)
    change.removed.append(artifact.path)


def _users(work: WorkDir, table: Table) -> pa.ChunkedArray | None:
    """The user column; None where it cannot be read or there is no such table."""
    path = work.where(table)
    if not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=[USER]).column(USER)
    except (pa.ArrowException, OSError, KeyError):
        return None


def _whole(work: WorkDir, table: Table) -> bool:
    """Whether the table can be read to its end and has the columns that it should have."""
    try:
        with pq.ParquetFile(work.where(table)) as file:
            for _ in file.iter_batches():
                pass
            return bool(file.schema_arrow.names == table.schema.names)
    except (pa.ArrowException, OSError):
        return False


# --- records ----------------------------------------------------------------------------------------------------------


def records(work: WorkDir) -> dict[str, Json]:
    """The records of all stages; a rewritten artifact takes its own away."""
    found = {stage: work.record(stage) for stage in sorted(STAGES)}
    return {stage: record for stage, record in found.items() if record is not None}


def repair_records(work: WorkDir, before: Mapping[str, Json], change: Change) -> None:
    """Sign anew what was rewritten, wherever it is named, and mark what was made with the people as stale.

    Only what was whole before is signed: an artifact that somebody else has changed stays so.
    """
    lost = {name.partition("/")[0] for name in change.removed}
    for stage, record in before.items():
        if stage in lost:
            continue
        inputs = {name: _after(change.prints, name, print_) for name, print_ in record["parts"]["inputs"].items()}
        outputs = {}
        for name, kept in record["outputs"].items():
            after = _after(change.prints, name, kept["sha256"])
            outputs[name] = kept if after == kept["sha256"] else {"sha256": after, "mtime_ns": _time(work, name)}
        parts = {**record["parts"], "inputs": inputs}
        changed = {**record, "parts": parts, "ticket": ticket_of(parts), "outputs": outputs}
        if change.learned_from:
            changed["forgot"] = record.get("forgot", 0) + len(change.learned_from)
            change.stale.append(stage)
        if changed != work.record(stage):
            work.sign(stage, changed)


def _after(prints: Mapping[str, tuple[str, str]], name: str, known: str | None) -> str | None:
    before, after = prints.get(name, (known, known))
    return after if before == known else known


def _time(work: WorkDir, name: str) -> int:
    return (work.path / name).stat().st_mtime_ns


# --- files that are no artifacts --------------------------------------------------------------------------------------


def exports(work: WorkDir, inner: Iterable[WorkDir], ids: Collection[str]) -> tuple[list[Path], list[Path]]:
    """Files next to the artifacts: those with a user column that names one of the people, and others that may do so."""
    own = {each.where(artifact) for each in inner for artifact in REGISTRY}
    wanted, raw = set(ids), {each.encode() for each in ids}
    sure, unsure = [], []
    for path in sorted(p for p in work.path.rglob("*") if p.is_file() and not p.is_symlink()):
        if path.name in OWN or RECEIPTS in path.parts or own & {path, *path.parents}:
            continue
        named = _users_named(path)
        if named is None:
            if raw & set(TOKEN.findall(path.read_bytes())):
                unsure.append(path)
        elif named & wanted:
            sure.append(path)
    return sure, unsure


def _users_named(path: Path) -> set[str] | None:
    """The ids in the user column of a Parquet, CSV or JSON lines file; None for any other file."""
    try:
        if path.suffix == ".parquet":
            return {str(each) for each in pq.read_table(path, columns=[USER]).column(USER).unique().to_pylist()}
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                return {row[USER] for row in csv.DictReader(file)}
            if path.suffix in (".jsonl", ".ndjson"):
                return {str(json.loads(line)[USER]) for line in file}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, csv.Error):
        return None
    return None

"""The raw files that were appended to the log of a work directory: `clean` reads them after those of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from llmrec_cli.core import records
from llmrec_cli.core.artifacts import REJECTS, SEQUENCES
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.disk import fingerprint, remove, write_atomically
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.records import Json
from llmrec_cli.core.workdir import WorkDir, outermost
from llmrec_cli.ingest.clean_config import CleanConfig
from llmrec_cli.ingest.locations import Location, locate
from llmrec_cli.ingest.raw_files import distinct_names
from llmrec_cli.ingest.sql import literal

if TYPE_CHECKING:
    from llmrec_cli.ingest.raw_log import RawLog

LIST = "appended.json"
FORMAT: Final = "llmrec.appended/1"
PARSED = ".parsed"
"""Folder under `WORK/clean` of what was read of raw files (`ingest/parsed_files.py`); `forget` removes it."""


class Appended(BaseModel, frozen=True, extra="forbid"):
    """The list as it is kept."""

    format: Literal["llmrec.appended/1"] = FORMAT
    files: tuple[str, ...] = ()
    """As the settings would name them, from their folder."""
    logs: tuple[str, ...] = ()
    """sha256 of `clean/sequences` before the first append and after each: which log grew out of which."""


def read(work: Path) -> Appended:
    """The list of a work directory, empty where nothing was appended; a backtest has that of the one around it.

    UpstreamError where it is damaged.
    """
    path = outermost(work) / LIST
    try:
        content = records.read(path, Appended, FORMAT)
    except records.InvalidRecordError as error:
        raise UpstreamError(
            "the list of appended files is damaged: what the log consists of is not known",
            where=str(path),
            fix="put it back from a backup, or move it away, run `llmrec clean` and append again",
        ) from error
    return Appended(**content) if content else Appended()


def parsed(work: WorkDir) -> Path:
    """Where what was read of raw files is kept, if the folder is there; for a backtest that of its work directory."""
    return outermost(work.path) / "clean" / PARSED


def keep(work: WorkDir, log: Appended) -> None:
    """Keep the list by which the log was made, atomically; without files there is none."""
    if log.files:
        logs = (*log.logs, work.fingerprint(SEQUENCES))
        write_atomically(work.path / LIST, records.signed({**log.model_dump(mode="json"), "logs": logs}))
    else:
        remove(work.path / LIST)
        remove(parsed(work))


def with_files(config: CleanConfig, files: Sequence[str]) -> CleanConfig:
    """The settings as if they named these files of the log too."""
    given = config.interactions.path or ""
    paths = [given] if isinstance(given, str) else given
    interactions = config.interactions.model_copy(update={"path": [*paths, *files]})
    return config.model_copy(update={"interactions": interactions}) if files else config


def grown(
    work: WorkDir, config: CleanConfig, base: Path, files: Sequence[str], known: Appended
) -> tuple[Appended, list[str]]:
    """The list with these files more, those that are new by content, and what is to be said of the others.

    UpstreamError where there is nothing to append to; DataError where there is no such file.
    """
    if files and not work.has(SEQUENCES):
        raise work.upstream("there is no log yet that files can be appended to", "clean")
    there = {_content(each): each for each in locate(with_files(config, known.files).interactions.path or "", base)}
    added, lines = [], []
    for location in locate(files, base):
        same = there.setdefault(_content(location), location)
        if same is location:
            added.append(str(location).removeprefix(f"{base.resolve()}/"))
        elif same == location:
            lines.append(f"{location.name} is in the log already; it is read anew if it has changed")
        else:
            lines.append(f"{location.name} is in the log already, as {same.name}: not added again")
    if not added:
        return known, lines
    before = work.fingerprint(SEQUENCES)
    logs = known.logs if before in known.logs[-1:] else (before,)
    return Appended(files=(*known.files, *added), logs=logs), lines


def describe(log: RawLog, work: WorkDir, record: Json | None) -> list[str]:
    """A line for each file that the last run had not: its rows, what rules took of them, what comes late."""
    had = tuple(f"/{name}" for source in record["parts"]["sources"].values() for name in source) if record else ("",)
    named = zip(distinct_names(log.inputs), log.inputs, strict=True)
    names = [name for name, each in named if not str(each.file.location.path).endswith(had)]
    if not names:
        return []
    rejects = work.read(REJECTS, ["source", "reason"])
    added = ", ".join(map(literal, names))
    query = f"""WITH log AS (SELECT "#source" AS source, {log.cells()["time"]} AS time FROM {log.raw})
        SELECT source, count(*), count(*) FILTER (time < (SELECT max(time) FROM log WHERE source NOT IN ({added})))
        FROM log WHERE source IN ({added}) GROUP BY source"""
    counts = {source: (rows, late) for source, rows, late in log.engine.rows(query)}
    lines = []
    for name in names:
        rows, late = counts.get(name, (0, 0))
        reasons = rejects.filter(pc.equal(rejects.column("source"), name)).column("reason").value_counts().to_pylist()
        taken = ", ".join(f"{each['values']} {each['counts']:,}" for each in reasons) or "none"
        kept = rows - sum(each["counts"] for each in reasons)
        lines.append(f"{name}: {rows:,} rows, {kept:,} kept; rejected: {taken}; {late:,} older than the newest before")
    return lines


def undescribed(before: pa.Table, now: pa.Table) -> list[str]:
    """A warning where items with a title, by item_id and title, have none any more."""
    had = before.filter(pc.is_valid(before.column("title"))).column(ITEM)
    lost = now.filter(pc.and_(pc.is_null(now.column("title")), pc.is_in(now.column(ITEM), value_set=had)))
    what = "items have left the items file: their events stay, they have no title any more"
    return [f"{lost.num_rows:,} {what}"] if lost.num_rows else []


def _content(location: Location) -> str:
    return f"{fingerprint(location.path)}#{location.member}#{location.partition}"

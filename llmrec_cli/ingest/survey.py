"""Raw files looked at: their first rows, and which of them is the log, which describes items and which users."""

from __future__ import annotations

import functools
import glob
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.errors import DataError, LlmrecError
from llmrec_cli.ingest import infer, raw_files
from llmrec_cli.ingest.column_facts import Facts, facts
from llmrec_cli.ingest.column_mapping import FileConfig, name_of
from llmrec_cli.ingest.dialect import is_sequences
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.engine_checks import check_width
from llmrec_cli.ingest.raw_files import Input

# Rows that are looked at; a log may have billions.
SAMPLE = 200_000
NEEDED = "a log has a row for each event, with a column of users and one of items"


@dataclass(frozen=True)
class RawTable:
    """A raw file with its first rows as text; several files of a log are one."""

    given: str
    """As it was typed; a member of an archive with its name behind."""
    paths: list[str]
    """As the settings name it."""
    input: Input
    table: pa.Table
    pattern: str = ""
    """The glob that it was found by, as the settings name it."""
    files: int = 1

    @property
    def name(self) -> str:
        return self.input.file.location.name

    @property
    def headless(self) -> bool:
        return self.input.dialect.format == "csv" and not self.input.dialect.header

    @property
    def is_sequences(self) -> bool:
        return self.input.dialect.format == "sequences"

    @functools.cached_property
    def facts(self) -> dict[str, Facts]:
        return facts(self.table)

    @functools.cached_property
    def keys(self) -> list[Facts]:
        """The columns whose values hardly ever repeat."""
        return infer.key_columns(list(self.facts.values()))

    def about(self, use: str) -> str:
        dialect = self.input.dialect
        names = {"\t": "tab", " ": "blank", ",": "comma"}
        kind = (
            f"{names.get(dialect.separator, dialect.separator)}-separated"
            if dialect.format == "csv"
            else dialect.format
        )
        header = ", header" if dialect.header else ""
        more = f" and {self.files - 1} more with the same columns" if self.files > 1 else ""
        seen = f", seen in its first {SAMPLE:,} rows" if self.table.num_rows >= SAMPLE else ""
        return f"{self.name}{more}: {kind}{header}, {self.input.file.encoding or 'binary'}{seen} -> {use}"


@dataclass
class Assignment:
    """Which file is what."""

    log: RawTable
    items: RawTable | None = None
    users: RawTable | None = None
    keys: dict[str, str] = field(default_factory=dict)
    """`items` and `users` -> the column of the id in that file."""
    unused: list[tuple[str, str]] = field(default_factory=list)
    """Names of files, and why they are not used."""


# --- the first rows ---------------------------------------------------------------------------------------------------


def read_tables(engine: Engine, given: Path, folder: Path) -> tuple[list[RawTable], list[tuple[str, str]]]:
    """The first rows of a file, of each file of a pattern or of each member of a zip file; and what was passed over.

    Raises DataError where a file, other than a member of a zip file, is no table with rows.
    """
    if not given.exists() and glob.has_magic(str(given)):
        pattern = _from(folder, given)
        found = [location.path for location in raw_files.locate(str(given.absolute()), Path())]
        return [replace(_read_table(engine, str(p), p, folder), pattern=pattern) for p in found], []
    if not (given.is_file() and zipfile.is_zipfile(given)):
        return [_read_table(engine, str(given), given, folder)], []
    tables, passed = [], []
    for member in raw_files.members(given):
        try:
            tables.append(_read_table(engine, f"{given}#{member}", given, folder, member))
        except LlmrecError as error:
            passed.append((member, error.what))  # a readme, an image
    return tables, passed


def _read_table(engine: Engine, given: str, file: Path, folder: Path, member: str = "") -> RawTable:
    path = f"{file.absolute()}#{member}" if member else str(file.absolute())
    (each,) = engine.open(FileConfig.model_validate({"path": path}), Path())
    name = each.file.location.name
    check_width(each.dialect, each.file)  # a stage reads the columns that it needs, a look all of them
    if each.dialect.format == "csv" and is_sequences(each.file.head):
        (each,) = engine.open(FileConfig.model_validate({"path": path}), Path(), sequences=True)
    elif len(each.dialect.columns) < 2:
        raise DataError(f"{name} has one column only", where=path, fix=NEEDED)
    raw = engine.raw([each], _distinct(each.dialect.columns), limit=SAMPLE)
    table = engine.arrow(engine.texts(raw)).select(_distinct(each.dialect.columns))
    if not table.num_rows:
        header = ", ".join(each.dialect.columns)
        what = f"a header and no rows: {header}" if each.dialect.header else "no rows that can be read"
        raise DataError(f"{name} has {what}", where=path, fix=NEEDED)
    near = _from(folder, file)
    return RawTable(given, [f"{near}#{member}" if member else near], each, table)


def _from(folder: Path, file: Path) -> str:
    """The path as the settings in `folder` name it: relative where it is near."""
    near = os.path.relpath(file.absolute(), folder.absolute())
    return near if near.count("..") < 3 else str(file.absolute())


def _distinct(columns: Iterable[str]) -> list[str]:
    """The columns that SQL can tell apart: without regard to case, and none of the names that the engine adds."""
    taken = {"#source", "#row", "#source_row", "#parsable", ""}
    kept = []
    for column in columns:
        if column.lower() not in taken:
            taken.add(column.lower())
            kept.append(column)
    return kept


# --- which file is what -----------------------------------------------------------------------------------------------


def assign(tables: Sequence[RawTable], given: Mapping[str, str | int]) -> Assignment:
    """The log, the items file and the users file, and why others are not used.

    A log has no column of ids that never repeat, or one of users and one of items by name; `given` are the columns
    that the settings name for the log. Of several different logs the one with the most columns that are understood,
    and then with the most rows, is taken. Raises DataError where no file is a log.
    """
    logs = [each for each in tables if each.is_sequences or _is_log(each, named(each, given))]
    if not logs:
        raise _no_log(tables, given)
    log = max(logs, key=lambda each: (each.is_sequences, len(log_columns(each, given)), each.table.num_rows))
    for column in filter(lambda c: c != "", given.values()):
        name_of(column, [log.input])
    same = [each for each in logs if _same_columns(each, log)]
    rivals = [each for each in logs if each not in same and (each.is_sequences or _by_name(each))]
    found = Assignment(_concatenated(same, tables))
    found.unused = [
        (each.name, f"another log, of other columns ({', '.join(each.table.column_names)}); give it alone to use it")
        for each in rivals
    ]
    rest = [each for each in tables if each not in same and each not in rivals]
    _describe(found, rest, log_columns(found.log, given))
    return found


def named(each: RawTable, given: Mapping[str, str | int]) -> dict[str, str]:
    """The columns of a file that a person named, those that it has."""
    there = each.table.column_names
    columns = {field: there[c] if isinstance(c, int) and c < len(there) else str(c) for field, c in given.items()}
    return {field: c for field, c in columns.items() if c in there or c == ""}


def log_columns(each: RawTable, given: Mapping[str, str | int]) -> list[infer.InferredColumn]:
    """The columns of a log, both ids among them; [] where a file is none."""
    if each.is_sequences:
        return [infer.InferredColumn("user", "user", ""), infer.InferredColumn("item", "item", "")]
    inferred = infer.log_columns(list(each.facts.values()), named(each, given))
    return inferred if {"user", "item"} <= {g.field for g in inferred} else []


def _is_log(each: RawTable, given: Mapping[str, str]) -> bool:
    ids = [g for g in log_columns(each, given) if g.field in ("user", "item")]
    if {"user", "item"} <= given.keys():
        return bool(ids)
    return bool(ids) and (not each.keys or _by_name(each))


def _by_name(each: RawTable) -> bool:
    """Whether the columns of users and of items are named so, and neither is the one that never repeats."""
    ids = [g for g in infer.log_columns(list(each.facts.values())) if g.field in ("user", "item")]
    keys = {key.name for key in each.keys}
    return len(ids) == 2 and all(g.reason.startswith("its name") and g.column not in keys for g in ids)


def _same_columns(one: RawTable, other: RawTable) -> bool:
    kinds = [(each.input.dialect.format, each.input.dialect.columns, each.headless) for each in (one, other)]
    return kinds[0] == kinds[1]


def _concatenated(same: Sequence[RawTable], tables: Sequence[RawTable]) -> RawTable:
    """Files with the same columns as one log; a pattern stays one where all of its files belong to it."""
    if len(same) == 1:
        return same[0]
    pattern = same[0].pattern
    whole = pattern and list(same) == [each for each in tables if each.pattern == pattern]
    paths = [pattern] if whole else [path for each in same for path in each.paths]
    return replace(same[0], paths=paths, table=pa.concat_tables([each.table for each in same]), files=len(same))


def _no_log(tables: Sequence[RawTable], given: Mapping[str, str | int]) -> DataError:
    """Of each file what is in the way of its being a log."""
    for each in tables:
        for column in given.values():
            if column != "" and len(tables) == 1:
                name_of(column, [each.input])
    lines = [f"{each.name} {_why_no_log(each)}" for each in tables]
    return DataError(
        "none of the files is a log of events",
        table=lines,
        where=", ".join(each.given for each in tables),
        fix=f"{NEEDED}; or name them: --set clean.interactions.user=COLUMN --set clean.interactions.item=COLUMN",
    )


def _why_no_log(each: RawTable) -> str:
    for id_field in ("user", "item"):
        only = next((f for f in each.facts.values() if f.n_distinct == 1 and f.named(id_field)), None)
        if only is not None:
            return f"has only one {id_field}: {only.name} is {only.values[0].as_py()!r} in every row"
    if each.table.num_rows == 1:
        return "has one row only"
    columns = ", ".join(each.table.column_names)
    if each.keys:
        return f"describes something: {each.keys[0].name} is another in each row (columns: {columns})"
    return f"has no column of users and one of items (columns: {columns})"


def _describe(found: Assignment, files: Sequence[RawTable], inferred: Sequence[infer.InferredColumn]) -> None:
    """Find the items file and the users file among the files: their ids are those of the log."""
    ids = {g.field: pc.unique(found.log.table.column(g.column)) for g in inferred if g.field in ("user", "item")}
    items: list[RawTable] = []
    for each in files:
        met = {field: {f.name: _n_matching(f, values) for f in each.keys} for field, values in ids.items()}
        best = {field: max(counts, key=lambda name: counts[name], default="") for field, counts in met.items()}
        n_items, n_users = (met[field].get(best[field], 0) for field in ("item", "user"))
        if found.users is None and n_users and (_describes_users(each, best["user"]) or not n_items):
            found.users, found.keys["users"] = each, best["user"]
        elif n_items:
            items.append(each)
            found.keys[each.paths[0]] = best["item"]
        elif not each.keys:
            found.unused.append((each.name, "it has no column of ids that never repeat, and is not the log"))
        else:
            found.unused.append((each.name, f"none of its ids ({each.keys[0].name}) is an item or a user of the log"))
    found.items = max(items, key=lambda each: _n_item_columns(each, found.keys[each.paths[0]]), default=None)
    if found.items is not None:
        found.keys["items"] = found.keys[found.items.paths[0]]
        others = [each for each in items if each is not found.items]
        found.unused += [
            (each.name, f"{found.items.name} describes the items in more columns, and one file is read")
            for each in others
        ]


def _n_matching(key: Facts, ids: pa.Array) -> int:
    """How many of the ids are in a column."""
    return pc.sum(pc.is_in(pc.utf8_trim_whitespace(ids), value_set=key.values)).as_py() or 0


def _n_item_columns(each: RawTable, key: str) -> int:
    return len(infer.item_columns([f for f in each.facts.values() if f.name != key]))


def _describes_users(each: RawTable, key: str) -> bool:
    others = [f for f in each.facts.values() if f.name != key]
    inferred = {g.field for g in infer.user_columns(others)}
    titled = any(g.field == "title" for g in infer.item_columns(others))
    return each.facts[key].named("user") or (bool(inferred & {"age", "gender"}) and not titled)

"""Raw files looked at: their first rows, and which of them is the log, which describes items and which users."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.errors import DataError, LlmrecError
from llmrec_cli.core.registry import load_function
from llmrec_cli.ingest import infer, locations
from llmrec_cli.ingest.column_facts import Facts, facts, properties
from llmrec_cli.ingest.column_mapping import FileConfig, name_of
from llmrec_cli.ingest.dialect import is_sequences
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.engine_checks import check_width
from llmrec_cli.ingest.locations import Location
from llmrec_cli.ingest.raw_files import Input

# Rows that are looked at; a log may have billions.
SAMPLE = 200_000
SOME = 3
"""Of more files of a kind that are no tables one is named."""
MOST_UNNAMED = 12
"""Of more columns without names it can't be seen which are users and items."""
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
    cut: bool = False
    """Whether there are more rows than these."""
    pattern: str = ""
    """The glob that it was found by, as the settings name it."""
    matched: int = 1
    """How many files that names."""
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
        separator = {"\t": "tab", " ": "blank", ",": "comma"}.get(dialect.separator, dialect.separator)
        kind = f"{separator}-separated" if dialect.format == "csv" else dialect.format
        header = ", header" if dialect.header else ""
        more = f" and {self.files - 1} more with the same columns" if self.files > 1 else ""
        seen = f", seen in its first {self.table.num_rows:,} rows" if self.cut else ""
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
    """The first rows of a file, of each file of a folder or pattern, of each member of an archive; what is no table.

    "-" is what came by a pipe. Raises DataError for a single file that is no table with rows.
    """
    found = locations.locate(
        str(given), folder.absolute() if given == locations.PIPE else Path().absolute(), every=True
    )
    named = [locations.named(each, given, folder) for each in found]
    matched, alike = Counter(pattern for _, pattern in named), Counter(each.path.suffix for each in found)
    tables, passed = list[RawTable](), dict[str, list[tuple[str, str]]]()
    for location, (path, pattern) in zip(found, named, strict=True):
        try:
            limit = max(SAMPLE // alike[location.path.suffix], 1000)
            each, table = _first_rows(engine, location, limit)
            tables.append(RawTable(str(given), [path], each, table, len(table) >= limit, pattern, matched[pattern]))
        except LlmrecError as error:
            if len(found) == 1:
                raise
            which = location.member or location.name, error.what  # a readme
            passed.setdefault(location.path.suffix, []).append(which)
    unused = list[tuple[str, str]]()
    for rest in passed.values():
        unused += rest if len(rest) <= SOME else [(f"{rest[0][0]} and {len(rest) - 1:,} more", rest[0][1])]
    return tables, unused


def _first_rows(engine: Engine, location: Location, limit: int) -> tuple[Input, pa.Table]:
    settings = FileConfig.model_validate({})
    each, where = engine.open_one(location, settings), str(location)
    check_width(each.dialect, each.file)  # a stage reads the columns that it needs, a look all of them
    if re.match(r"\S+:\r?\n[^\n]*,", each.file.head):
        raise load_function("llmrec_cli.extras.no_log:headed")(location.name, where)
    if each.dialect.format == "csv" and is_sequences(each.file.head):
        each = engine.open_one(location, settings, sequences=True)
    elif len(each.columns) < 2:
        inside = f"for the list in it: jq -c '.{each.columns[0]}[]' {location.name} > log.jsonl"
        fix = inside if each.dialect.format == "json" else NEEDED
        raise DataError(f"{location.name} has one column only", where=where, fix=fix)
    raw = engine.raw([each], _distinct(each.columns), limit=limit)
    table = engine.arrow(engine.texts(raw)).select(_distinct(each.columns))
    if not table.num_rows:
        header = ", ".join(each.columns)
        what = f"a header and no rows: {header}" if each.dialect.header else "no rows that can be read"
        raise DataError(f"{location.name} has {what}", where=where, fix=NEEDED)
    return each, table


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
    tables = _together(tables)
    logs = [each for each in tables if each.is_sequences or _is_log(each, named(each, given))]
    if not logs:
        raise load_function("llmrec_cli.extras.no_log:no_log")(tables, given)
    log = max(
        logs,
        key=lambda each: (each.is_sequences, _by_name(each), len(log_columns(each, given)), each.table.num_rows),
    )
    if not log.is_sequences and "user" not in given:
        load_function("llmrec_cli.extras.no_log:check_users")(log, tables)
    for column in filter(lambda c: c != "", given.values()):
        name_of(column, [log.input])
    same = [each for each in logs if _kind(each) == _kind(log)]
    rivals = [each for each in logs if each not in same and (each.is_sequences or _by_name(each))]
    found = Assignment(_concatenated(same))
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
    ids = {g.field: g.column for g in inferred if g.field in ("user", "item")}
    rest = list(each.facts.values())
    while "item" in ids and each.table.num_rows > 2 * each.facts[ids["item"]].n_distinct:
        about = [g.column for g in inferred if g.field in ("value", "review") and g.reason != "given"]
        fixed = properties(each.table, ids["item"], about).column_names  # it tells of the item, not of an event
        if not fixed:
            break
        rest = [fact for fact in rest if fact.name not in fixed]
        inferred = infer.log_columns(rest, named(each, given))
    return inferred if {"user", "item"} <= {g.field for g in inferred} else []


def _is_log(each: RawTable, given: Mapping[str, str]) -> bool:
    ids = [g for g in log_columns(each, given) if g.field in ("user", "item")]
    if {"user", "item"} <= given.keys():
        return bool(ids)
    unnamed = each.headless and len(each.table.column_names) > MOST_UNNAMED
    return bool(ids) and not unnamed and (not each.keys or _by_name(each))


def _by_name(each: RawTable) -> bool:
    """Whether the columns of users and of items are named so, and neither is the one that never repeats."""
    ids = [g for g in infer.log_columns(list(each.facts.values())) if g.field in ("user", "item")]
    keys = {key.name for key in each.keys}
    return len(ids) == 2 and all(g.reason.startswith("its name") and g.column not in keys for g in ids)


def _kind(each: RawTable) -> tuple[str, ...]:
    """What files have in common that can be one: how they are written, and their columns, named ones in any order."""
    columns = each.input.columns if each.headless else sorted(each.input.columns)
    return (each.input.dialect.format, str(each.headless), *columns)


def _together(tables: Sequence[RawTable]) -> list[RawTable]:
    """Files of the same named columns as one: a day alone may look as if it described users."""
    groups: dict[tuple[str, ...], list[RawTable]] = {}
    for number, each in enumerate(tables):
        groups.setdefault((*_kind(each), str(number) if each.headless else ""), []).append(each)
    return list(map(_concatenated, groups.values()))


def _concatenated(same: Sequence[RawTable]) -> RawTable:
    """Files with the same columns as one; a pattern stays one where all of its files belong to it."""
    first = same[0]
    if len(same) == 1 and not first.input.partition:
        return first
    whole = first.pattern and len(same) == first.matched and all(each.pattern == first.pattern for each in same)
    paths = [first.pattern] if whole else [path for each in same for path in each.paths]
    tables = [each.table.select(first.table.column_names) for each in same]
    cut = any(each.cut for each in same)
    return replace(first, paths=paths, table=pa.concat_tables(tables), cut=cut, files=len(same))


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

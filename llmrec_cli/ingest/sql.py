"""The SQL by which DuckDB turns each kind of raw file into numbered rows of text, and texts into times and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmrec_cli.ingest.raw_files import Input, RawFile

# No text has it, so a line is read as one column.
NO_SEPARATOR = "\x01"
BLANKS = " \t\n\r\v\f"
# Seconds, milli-, micro- and nanoseconds since 1970 differ by magnitude: 1e11 seconds are the year 5138.
UNIX = """CASE WHEN {n} <= 0 THEN NULL WHEN {n} < 1e11 THEN ({n} * 1e6)::BIGINT WHEN {n} < 1e14 THEN ({n} * 1e3)::BIGINT
    WHEN {n} < 1e17 THEN {n}::BIGINT WHEN {n} < 1e20 THEN ({n} / 1e3)::BIGINT END"""

# 1900-01-01 and 2200-01-01 in microseconds since 1970.
EARLIEST, LATEST = -2_208_988_800_000_000, 7_258_118_400_000_000


Types = Mapping[str, tuple[str, str]]
"""Of a Parquet file: name of a column -> its SQL and the engine's type; a field of a structure is `structure.field`."""


def rows(each: Input, columns: Sequence[str], types: Types) -> str:
    """A query of `#row`, `#parsable` and the named columns as text."""
    dialect = each.dialect
    if fixed := [name for name in columns if name in each.partition]:
        values = "".join(f", nullif({literal(each.partition[name])}, '') AS {quoted(name)}" for name in fixed)
        return f"SELECT *{values} FROM ({rows(each, [c for c in columns if c not in fixed], types)})"
    if dialect.format == "parquet":
        return _parquet(each, columns, types)
    if dialect.format in ("json", "json-array"):
        return _json(each, columns)
    if dialect.format == "sequences":
        return _sequences(each)
    return _blanks(each, columns) if dialect.separator == " " else _csv(each, columns)


def _csv(each: Input, columns: Sequence[str]) -> str:
    dialect = each.dialect
    declared = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(dialect.columns)))
    quote = "'\"'" if dialect.quoting else "''"
    chosen = "".join(f", c{dialect.columns.index(c)} AS {quoted(c)}" for c in columns)
    return (
        f'SELECT row_number() OVER () AS "#row", true AS "#parsable"{chosen} '
        f"FROM read_csv({path(each.file)}, delim={literal(dialect.separator)}, quote={quote}, "
        f"escape={quote}, header={dialect.header}, auto_detect=false, columns={{{declared}}}, "
        "compression='none', hive_partitioning=false, store_rejects=true)"
    )


def _blanks(each: Input, columns: Sequence[str]) -> str:
    names = each.dialect.columns
    ok = f"len(parts) = {len(names)}"
    chosen = "".join(f", CASE WHEN {ok} THEN parts[{names.index(c) + 1}] END AS {quoted(c)}" for c in columns)
    skipped = f" OFFSET {int(each.dialect.header)}"
    return (
        f'SELECT row_number() OVER () AS "#row", {ok} AS "#parsable"{chosen} FROM '
        f"(SELECT string_split_regex(trim(line), '\\s+') AS parts FROM (FROM {lines(each.file)}{skipped}) "
        "WHERE trim(line) <> '')"
    )


def _json(each: Input, columns: Sequence[str]) -> str:
    def value(column: str) -> str:
        # a JSON pointer: in it any name can be written; a point is part of a name, or leads into an object
        pointer = "/" + column.replace("~", "~0").replace("/", "~1")
        ways = dict.fromkeys((pointer, pointer.replace(".", "/")))
        found = ", ".join(f"json_extract_string(line, {literal(way)})" for way in ways)
        return f", CASE WHEN json_valid(line) THEN coalesce({found}) END AS {quoted(column)}"

    return (
        f'SELECT row_number() OVER () AS "#row", json_valid(line) AS "#parsable"{"".join(map(value, columns))} '
        f"FROM {records(each.file, array=each.dialect.format == 'json-array')} WHERE trim(line) <> ''"
    )


def _parquet(each: Input, columns: Sequence[str], types: Types) -> str:
    def value(column: str) -> str:
        (field, type_), name = types[column], quoted(column)
        if type_ in ("FLOAT", "DOUBLE"):  # an id column with gaps is stored as 12345.0
            whole = f"{field} = floor({field}) AND abs({field}) < 9e15"
            return f", CASE WHEN {whole} THEN {field}::BIGINT::VARCHAR ELSE {field}::VARCHAR END AS {name}"
        nested = type_.endswith("]") or type_.startswith(("STRUCT", "MAP"))
        return f", (to_json({field})->>'$') AS {name}" if nested else f", {field}::VARCHAR AS {name}"

    chosen = "".join(map(value, columns))
    return f'SELECT row_number() OVER () AS "#row", true AS "#parsable"{chosen} FROM {parquet(each.file)}'


def _sequences(each: Input) -> str:
    """Lines `user item item …` as a query of one row for each item."""
    separator = each.dialect.separator
    parts = (
        f"string_split(line, {literal(separator)})" if separator.strip() else "string_split_regex(trim(line), '\\s+')"
    )
    # each row has its own item only: with the whole line in it, memory would grow with the square of a line
    header = f" OFFSET {int(each.dialect.header)}"
    return (
        'SELECT row_number() OVER (ORDER BY line_number, i) AS "#row", item IS NOT NULL AS "#parsable", "user", item '
        'AS "item" FROM (SELECT parts[1] AS "user", line_number, unnest(items) AS item, '
        "unnest(range(len(items))) AS i FROM (SELECT parts, line_number, "
        "CASE WHEN len(parts) > 1 THEN parts[2:] ELSE [NULL::VARCHAR] END AS items FROM "
        f"(SELECT {parts} AS parts, row_number() OVER () AS line_number FROM (FROM {lines(each.file)}{header}) "
        "WHERE trim(line) <> '')))"
    )


def texts(each: Input) -> str:
    """A query of the text of each row, in order; a row of a Parquet file as JSON."""
    if each.dialect.format == "parquet":
        return f"SELECT to_json(file)::VARCHAR AS text FROM {parquet(each.file)} AS file"
    if each.dialect.format == "sequences":
        return f"SELECT concat_ws(' ', \"user\", item) AS text FROM ({_sequences(each)})"
    found = records(each.file, array=each.dialect.format == "json-array")
    return f"SELECT line AS text FROM (FROM {found} OFFSET {int(each.dialect.header)}) WHERE trim(line) <> ''"


def lines(file: RawFile) -> str:
    return (
        f"read_csv({path(file)}, delim={literal(NO_SEPARATOR)}, quote='', escape='', header=false, auto_detect=false, "
        "columns={'line': 'VARCHAR'}, compression='none', hive_partitioning=false, strict_mode=false)"
    )


def fields(name: str, type_: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """A column of a Parquet file as `Types` has it: itself, or the fields of the structure that it is."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((name,), type_)]
    while waiting:
        path, type_ = waiting.pop(0)
        if type_.id == "struct" and all(key and "." not in key for key, _ in type_.children):
            waiting = [((*path, key), child) for key, child in type_.children] + waiting
        else:
            yield ".".join(path), (".".join(map(quoted, path)), str(type_))


def records(file: RawFile, *, array: bool) -> str:
    """The JSON values of a file, a `line` for each: those of its lines, or of the one array that it is."""
    if not array:
        return lines(file)
    objects = f"read_json_objects({path(file)}, format='array', compression='uncompressed')"
    return f"(SELECT json::VARCHAR AS line FROM {objects})"


def parquet(file: RawFile) -> str:
    return f"read_parquet({path(file)}, hive_partitioning=false)"


def path(file: RawFile) -> str:
    """The file and no other: a name such as `log[1].csv` is no pattern, `user=3` in a folder's name no column."""
    return literal(re.sub(r"[*?[]", r"[\g<0>]", str(file.path.absolute())))


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def column(name: str | None) -> str:
    return "NULL::VARCHAR" if name is None else quoted(name)


def cell(name: str | None) -> str:
    """The text of a cell without the blanks around it; NULL where nothing is left."""
    return f"nullif(trim({column(name)}, {literal(BLANKS)}), '')"


def number(text: str, decimal: str = ".") -> str:
    plain = text if decimal == "." else f"replace(replace({text}, '.', ''), ',', '.')"
    return f"TRY_CAST({plain} AS DOUBLE)"


def microseconds(text: str, time_format: str) -> str:
    """Microseconds since 1970 of a time as text; NULL where it is none, or lies outside of the years 1900 to 2200.

    A time without a zone is UTC. A number such as 20100101 is a day and needs its format, %Y%m%d.
    """
    if time_format:
        return _plausible(f"epoch_us(try_strptime(trim({text}), {literal(time_format)}))")
    # only what begins with a digit: 'infinity', 'epoch' and the like are words that a cast would take
    calendar = f"CASE WHEN ascii(trim({text})) BETWEEN 48 AND 57 THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) END"
    # 1900 to 2199 with eight digits: as seconds, days of August to September 1970, which no log of today has
    day = f"{number(text)} BETWEEN 19000101 AND 21991231 AND try_strptime(trim({text}), '%Y%m%d') IS NOT NULL"
    since = f"CASE WHEN {day} THEN NULL ELSE {UNIX.format(n=number(text))} END"
    slow = _plausible(f"CASE WHEN {number(text)} IS NULL THEN {calendar} ELSE {since} END")
    # most logs have seconds, which need none of this
    seconds = f"{number(text)} BETWEEN 1e8 AND {LATEST // 1_000_000}"
    return f"CASE WHEN {seconds} THEN ({number(text)} * 1e6)::BIGINT ELSE {slow} END"


def _plausible(time: str) -> str:
    """The microseconds where they lie in years that a calendar of events can have."""
    return f"CASE WHEN {time} BETWEEN {EARLIEST} AND {LATEST} THEN {time} END"

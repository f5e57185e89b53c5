"""Errors of the engine and limits of its tables, reported as what is wrong with a raw file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from llmrec_cli.core.errors import DataError
from llmrec_cli.ingest.dialect import Dialect, records
from llmrec_cli.ingest.raw_files import Input, RawFile
from llmrec_cli.ingest.text_scan import CHUNK, LONG

# The columns that a raw table has in addition to those of the file.
MICROSECONDS, NUMBER, FORGOTTEN = "#microseconds", "#number", "#forgotten"
ROW_COLUMNS = frozenset({"#source", "#row", "#source_row", "#parsable", MICROSECONDS, NUMBER, FORGOTTEN})
MAX_COLUMNS = 5000
REWRITE_PARQUET = "fetch or write the Parquet file again: it is damaged, or holds what the engine does not know"
MAX_OVERLONG_BYTES = 1 << 30
"""Bytes that the engine may keep of lines with too many columns."""


@contextmanager
def read_errors(file: RawFile) -> Iterator[None]:
    """Report an error of the engine as a DataError of the file that is read."""
    try:
        yield
    except (duckdb.Error, UnicodeDecodeError) as error:  # a damaged file may raise any of them
        raise DataError(
            f"{file.location.name} cannot be read: {str(error).splitlines()[0]}",
            where=str(file.location),
            fix=REWRITE_PARQUET
            if file.parquet
            else "set how it is written: format, separator, header, quoting, encoding",
        ) from error


def check_width(dialect: Dialect, file: RawFile) -> Dialect:
    """The dialect; DataError where it, or one line of the file, has more columns than the engine can read.

    Of every column too many the engine keeps the whole line: one line of 140,000 separators would take gigabytes.
    """
    if len(dialect.columns) > MAX_COLUMNS:
        kind = "different keys" if dialect.format.startswith("json") else "columns"
        what = f"{file.location.name} has {len(dialect.columns):,} {kind}; {MAX_COLUMNS:,} are the most that are read"
        raise DataError(what, where=str(file.location), fix=_fix_for_width(dialect))
    if dialect.format == "csv" and dialect.separator.strip(" ") and file.long_lines:
        line, n, n_bytes = _widest(file, dialect)
        if n > MAX_COLUMNS or n_bytes > MAX_OVERLONG_BYTES:
            what = f"line {line:,} of {file.location.name} has {n:,} columns, the others {len(dialect.columns):,}"
            raise DataError(what, where=f"{file.location}:{line}", fix="fix or take out lines with so many columns")
    return dialect


def _widest(file: RawFile, dialect: Dialect) -> tuple[int, int, int]:
    """The line with the most columns, from 1; how many it has; the bytes of lines with too many times their number.

    Only long lines are looked at.
    """
    sep, best, n_bytes = dialect.separator.encode(), (0, 0), 0
    with file.path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(4 * CHUNK), b""), start=1):
            if len(line) > LONG:
                quoted = dialect.quoting and b'"' in line
                n = (
                    len(records(line.decode("utf-8", errors="replace"), dialect.separator, True)[0])
                    if quoted
                    else line.count(sep) + 1
                )
                best = max(best, (number, n), key=lambda each: each[1])
                n_bytes += n * len(line) if n > len(dialect.columns) else 0
    return *best, n_bytes


def _fix_for_width(dialect: Dialect) -> str:
    """What to do about a file that is too wide, by how it is written."""
    if dialect.format.startswith("json"):
        return 'give every record the same keys; ids belong in values, such as {"user": "u1", "item": "i1"}'
    if dialect.format == "parquet":
        return "write a file of the columns that are needed: user, item, time and the like"
    return f"is the separator {dialect.separator!r} right? set `separator`"


def check_names(inputs: Sequence[Input], columns: Sequence[str]) -> None:
    """Raise DataError where columns cannot be in one table of SQL together."""
    taken = {name: "a name that the program needs" for name in ROW_COLUMNS}
    for name in columns:
        fault = "a byte 0 in its name" if "\0" in name else taken.get(name.lower())
        if fault:
            where = ", ".join(str(each.file.location) for each in inputs)
            raise DataError(
                f"the column {name!r} has {fault}",
                where=where,
                fix="rename the columns: columns = [...], header = true",
            )
        taken[name.lower()] = f"the name of another, {name!r}, but for upper and lower case"

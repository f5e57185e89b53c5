"""The log as a raw table of the engine: its columns as texts, the times and numbers in them, and the row filter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.pseudonyms import People
from llmrec_cli.ingest import engine_filter, sql
from llmrec_cli.ingest.engine_checks import ROW_COLUMNS, TIME
from llmrec_cli.ingest.raw_files import Input

if TYPE_CHECKING:
    from llmrec_cli.ingest.engine import Engine
    from llmrec_cli.ingest.rules import Frame


@dataclass(frozen=True)
class ColumnMapping:
    """Names of the columns of a log; None where there is none."""

    user: str
    item: str
    time: str | None = None
    value: str | None = None
    event: str | None = None
    time_format: str = ""


@dataclass(frozen=True)
class RawLog:
    """The raw log inside the engine."""

    engine: Engine
    raw: str
    mapping: ColumnMapping
    where: str = ""
    """The user's own row filter."""
    columns: list[str] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    total: int = 0
    people: People | None = None
    """Pseudonyms and forgotten people; None where there are none."""
    forgotten: pa.Table | None = None
    """`source_row` of the rows of people who were forgotten."""
    parsed: bool = False
    """Whether the raw table has the times too, as they were read before."""

    @property
    def paths(self) -> str:
        return ", ".join(str(each.file.location) for each in self.inputs)

    def cells(self) -> dict[str, str]:
        """SQL of each column that is read from a row of the raw table.

        user_id, item_id, event (null where empty) · time (microseconds since 1970) and value, null where they are
        missing or cannot be read · time_text and value_text, from which they were read.
        """
        if self.mapping.time_format:
            self.engine.check_time_format(self.mapping.time_format)
        time, value = sql.column(self.mapping.time), sql.column(self.mapping.value)
        parsed = sql.number(value)
        return {
            "source": '"#source"',
            "row": '"#row"',
            "source_row": '"#source_row"',
            "parsable": '"#parsable"',
            USER: sql.cell(self.mapping.user),
            ITEM: sql.cell(self.mapping.item),
            "event": sql.cell(self.mapping.event),
            "time_text": time,
            "value_text": value,
            "time": sql.microseconds(time, self.mapping.time_format) if self.mapping.time else "NULL::BIGINT",
            "value": f"CASE WHEN isfinite({parsed}) THEN {parsed} END",
        } | ({"time": sql.quoted(TIME)} if self.parsed else {})

    def frame(self) -> Frame:
        """The log as `rules` reads it, one row for each row of the raw table: `cells` and whether it `passes`."""
        cells = self.cells() | {"passes": self.passing()}
        chosen = ", ".join(f"{expression} AS {name}" for name, expression in cells.items())
        return self.engine.frame(f"SELECT {chosen} FROM {self.raw}")

    def values(self, expression: str) -> pa.ChunkedArray:
        """(rows,) the values of an SQL expression, in the order of the log."""
        return self.engine.arrow(self.engine.frame(f"SELECT {expression} AS value FROM {self.raw}")).column("value")

    def rows_with(self, condition: str) -> Ints:
        """The rows, from 0, of which an SQL condition is true."""
        found = self.engine.arrow(
            self.engine.frame(f'SELECT "#source_row" - 1 AS row FROM {self.raw} WHERE {condition}')
        )
        return found.column("row").to_numpy().astype(np.int64)

    def rejected(self, reasons: pa.Table) -> Frame:
        """Rows as they were read, the columns of `clean/rejects`; `reasons` has source_row and reason of each."""
        cells = self.cells() | {"time": sql.column(self.mapping.time), "value": sql.column(self.mapping.value)}
        chosen = ", ".join(f"{cells[name]} AS {name}" for name in ("source", "row", USER, ITEM, "time", "value"))
        joined = f'{self.raw} JOIN {self.engine.name(reasons)} ON "#source_row" = source_row'
        return self.engine.frame(f'SELECT {chosen}, reason FROM {joined} ORDER BY "#source_row"')

    def passing(self) -> str:
        """The row filter as SQL on `#source_row`. Columns that hold nothing but numbers are numeric in it."""
        if not self.where:
            return "true"
        there = [c for c in self.engine.connection.table(self.raw).columns if c not in ROW_COLUMNS]
        columns = engine_filter.columns(self.where, there)
        number = {c: sql.number(sql.quoted(c)) for c in columns}
        tests = [f"bool_and(trim({sql.quoted(c)}) = '' OR {number[c]} IS NOT NULL)" for c in columns]
        found = self.engine.one(f"SELECT {', '.join(['count(*)', *tests])} FROM {self.raw}")
        numeric = {c for c, only in zip(columns, found[1:], strict=True) if only or c == self.mapping.value}
        read = [f"{number[c]} AS {sql.quoted(c)}" if c in numeric else sql.quoted(c) for c in columns]
        rows = self.engine.reader(f"SELECT {', '.join([sql.quoted(engine_filter.KEY), *read])} FROM {self.raw}")
        passed = engine_filter.passing(rows, found[0], self.where, [self.engine.connection.interrupt])
        return f'"#source_row" IN (SELECT passed FROM {self.engine.name(passed)})'

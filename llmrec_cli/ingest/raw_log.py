"""The log as a raw table of the engine: its columns as texts, the times and numbers in them, and the row filter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Bools
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.pseudonyms import People
from llmrec_cli.ingest import engine_filter, sql
from llmrec_cli.ingest.engine_checks import FORGOTTEN, MICROSECONDS, NUMBER, ROW_COLUMNS
from llmrec_cli.ingest.people import protected
from llmrec_cli.ingest.raw_files import Input
from llmrec_cli.ingest.spool import NOTHING, Extra, Spool

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
    decimal: str = "."

    def parsed(self) -> dict[str, str]:
        """SQL of the time, in microseconds since 1970, and of the value; null where it is missing or no number."""
        time = "NULL::BIGINT"
        if self.time is not None:
            time = sql.microseconds(sql.column(self.time), self.time_format)
        number = sql.number(sql.column(self.value), self.decimal)
        return {MICROSECONDS: time, NUMBER: f"CASE WHEN isfinite({number}) THEN {number} END"}

    def extra(self, people: People | None) -> Extra:
        """What is done with rows as they are read: times and values are parsed, people protected."""
        of_people = protected(people, self.user) if people else NOTHING
        return Extra({**self.parsed(), **of_people.parsed}, of_people.change)


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
    people: People | None = None
    """Pseudonyms and forgotten people; None where there are none."""

    @cached_property
    def forgotten(self) -> pa.Table | None:
        """`source_row` of the rows of people who were forgotten; None where there are none."""
        query = f'SELECT "#source_row" AS source_row FROM {self.raw} WHERE "{FORGOTTEN}"'
        return (self.engine.arrow(self.engine.frame(query)) or None) if self.people else None

    @property
    def total(self) -> int:
        return self.spool.rows

    @property
    def paths(self) -> str:
        return ", ".join(str(each.file.location) for each in self.inputs)

    @property
    def spool(self) -> Spool:
        return self.engine.spools[self.raw]

    def cells(self) -> dict[str, str]:
        """SQL of each column that is read from a row of the raw table.

        user_id, item_id, event (null where empty) · time (microseconds since 1970) and value, null where they are
        missing or cannot be read · time_text and value_text, from which they were read.
        """
        return {
            "source": '"#source"',
            "row": '"#row"',
            "source_row": '"#source_row"',
            "parsable": '"#parsable"',
            USER: sql.cell(self.mapping.user),
            ITEM: sql.cell(self.mapping.item),
            "event": sql.cell(self.mapping.event),
            "time_text": sql.column(self.mapping.time),
            "value_text": sql.column(self.mapping.value),
            "time": self.mapping.parsed()[MICROSECONDS],
            "value": self.mapping.parsed()[NUMBER],
        }

    def frame(self) -> Frame:
        """The log as `rules` reads it, one row for each row of the raw table: `cells` and whether it `passes`."""
        passing = self.passing()
        met = None if passing is None else self.engine.name(pa.table({"passed": np.flatnonzero(passing) + 1}))
        cells = self.cells() | {"passes": f'"#source_row" IN (SELECT passed FROM {met})' if met else "true"}
        chosen = ", ".join(f"{expression} AS {name}" for name, expression in cells.items())
        return self.engine.frame(f"SELECT {chosen} FROM {self.raw}")

    def passing(self) -> Bools | None:
        """(rows,) which rows meet the row filter, None without one. Columns of numbers alone are numeric in it."""
        if not self.where:
            return None
        there = [c for c in self.engine.connection.table(self.raw).columns if c not in ROW_COLUMNS]
        columns = engine_filter.columns(self.where, there)
        decimal = {self.mapping.value: self.mapping.decimal}
        number = {c: sql.number(sql.quoted(c), decimal.get(c, ".")) for c in columns}
        tests = [f"bool_and(trim({sql.quoted(c)}) = '' OR {number[c]} IS NOT NULL)" for c in columns]
        found = self.engine.one(f"SELECT {', '.join(['count(*)', *tests])} FROM {self.raw}")
        numeric = {c for c, only in zip(columns, found[1:], strict=True) if only or c == self.mapping.value}
        read = [f"{number[c]} AS {sql.quoted(c)}" if c in numeric else sql.quoted(c) for c in columns]
        rows = self.engine.reader(f"SELECT {', '.join([sql.quoted(engine_filter.KEY), *read])} FROM {self.raw}")
        return engine_filter.passing(rows, found[0], self.where, [self.engine.connection.interrupt])

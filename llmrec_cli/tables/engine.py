"""The native part of the tables, on DuckDB: reading and parsing raw files, handing frames over. All else is Narwhals.

Every column is read as text, so that ids keep their leading zeros and "NA" stays a name; only an empty cell is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals as nw
import pyarrow as pa

from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.tables import reading, sources
from llmrec_cli.tables.roles import FileConfig
from llmrec_cli.tables.sniff import Dialect, sniff
from llmrec_cli.tables.sources import Input, RawFile

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from llmrec_cli.tables.cleaning import Frame

LEAST_MEMORY = 256 << 20
ROWS = 1 << 18


@dataclass(frozen=True)
class Roles:
    """Names of the columns of a log; None where there is none."""

    user: str
    item: str
    time: str | None = None
    value: str | None = None
    event: str | None = None
    time_format: str = ""


class Engine:
    """A DuckDB connection that keeps to a memory limit and spills into `folder`, where unpacked files lie too."""

    def __init__(self, memory: int, threads: int, folder: Path) -> None:
        self.folder = folder
        self.connection: DuckDBPyConnection = duckdb.connect(
            config={
                "memory_limit": f"{max(memory, LEAST_MEMORY) >> 20}MiB",
                "temp_directory": str(folder),
                "autoinstall_known_extensions": False,
                **({"threads": threads} if threads else {}),
            }
        )
        self.connection.execute("SET TimeZone = 'UTC'")
        self._made = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    # --- between Narwhals and the engine --------------------------------------------------------------------------

    def keep(self, frame: Frame) -> Frame:
        """Compute a frame once; what follows reads the result."""
        name = self._name()
        frame.to_native().create(name)
        return nw.from_native(self.connection.table(name))

    def put(self, data: pa.Table) -> Frame:
        """An Arrow table as a frame of this engine."""
        name = self._name()
        self.connection.register(name, data)
        return nw.from_native(self.connection.table(name))

    def arrow(self, frame: Frame) -> pa.Table:
        return frame.to_native().to_arrow_table()

    def batches(self, frame: Frame, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows of the frame, in its order, in pieces."""
        yield from frame.to_native().to_arrow_reader(rows)

    def counts(self, frame: Frame, column: str) -> dict[Any, int]:
        """How many rows have each value of a column."""
        table = self.arrow(frame.group_by(column).agg(nw.len().alias("n")))
        return dict(zip(table.column(column).to_pylist(), table.column("n").to_pylist(), strict=True))

    def _name(self) -> str:
        self._made += 1
        return f"frame_{self._made}"

    # --- raw files ------------------------------------------------------------------------------------------------

    def open(self, config: FileConfig, base: Path, *, sequences: bool = False) -> list[Input]:
        """Every file that the settings name, unpacked, decoded and looked at."""
        inputs = []
        for location in sources.locate(config.path or "", base):
            file = sources.prepare(location, config.encoding, self.folder)
            inputs.append(Input(file, self._dialect(file, config, sequences)))
        return inputs

    def _dialect(self, file: RawFile, config: FileConfig, sequences: bool) -> Dialect:
        if sequences:
            return Dialect("sequences", ("user", "item"), config.separator)
        if file.parquet or config.format == "parquet":
            return Dialect("parquet", tuple(self._types(file)))
        dialect = sniff(
            file.head,
            file.quoted_lines,
            separator=config.separator,
            header=config.header,
            quoting=config.quoting,
            columns=config.columns,
            format=config.format,
        )
        if dialect.format == "json":
            # a key may be rare: the first lines do not tell them all
            rare = [key for key in self._json_keys(file) if key not in dialect.columns]
            if not (*dialect.columns, *rare):
                what = f"{file.location.name} has no JSON objects, one a line"
                raise DataError(what, where=str(file.location), fix="for a JSON array: jq -c '.[]' FILE > LINES")
            return Dialect("json", (*dialect.columns, *rare))
        return dialect

    def _json_keys(self, file: RawFile) -> list[str]:
        query = f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {reading.lines(file)} WHERE json_valid(line)"
        return sorted(key for (key,) in self.connection.execute(query).fetchall())

    def _types(self, file: RawFile) -> dict[str, str]:
        with _told_of(file):
            relation = self.connection.sql(f"FROM {reading.parquet(file)} LIMIT 0")
            return dict(zip(relation.columns, map(str, relation.types), strict=True))

    def raw(self, inputs: Sequence[Input], columns: Sequence[str], limit: int | None = None) -> str:
        """Read named columns of the files as text, one file after the other; the name of the table made.

        Beside them stand `#source`, the file's name, `#row`, which counts its data rows from 1, `#source_row`, which
        counts those of all files, and `#parsable`: false for a row with a wrong number of columns, which has nulls.
        With `limit` only the first rows of each file are read.
        """
        name = self._name()
        places = ['"#source" VARCHAR', '"#row" BIGINT', '"#source_row" BIGINT', '"#parsable" BOOLEAN']
        declared = ", ".join([*places, *(f"{reading.quoted(c)} VARCHAR" for c in columns)])
        self.connection.execute(f"CREATE TEMP TABLE {name} ({declared})")
        for source, each in zip(sources.distinct_names(inputs), inputs, strict=True):
            with _told_of(each.file):
                self._append(name, source, each, columns, limit)
        return name

    def _append(self, name: str, source: str, each: Input, columns: Sequence[str], limit: int | None) -> None:
        types = self._types(each.file) if each.file.parquet else {}
        (before,) = self._one(f'SELECT coalesce(max("#source_row"), 0) FROM {name}')
        query = reading.rows(each, columns, types) + ("" if limit is None else f" LIMIT {limit}")
        self.connection.execute(f"CREATE TEMP TABLE part AS {query}")
        bad = self._rejected_lines(int(each.dialect.header))
        rows = "SELECT *, 0 AS shift FROM part"
        if bad.num_rows:
            # the good rows after the j-th bad one, before which stand `good` of them, are j rows further down
            self.connection.register("bad", bad)
            shifts = "(SELECT good, max(j) AS j FROM bad GROUP BY good) AS bad"
            rows = f"""SELECT part.*, coalesce(bad.j, 0) AS shift FROM part ASOF LEFT JOIN {shifts} ON "#row" > good
                UNION ALL BY NAME SELECT row AS "#row", false AS "#parsable", 0 AS shift FROM bad"""
        self.connection.execute(
            f"""INSERT INTO {name} BY NAME SELECT * EXCLUDE (shift) REPLACE ("#row" + shift AS "#row"),
                ? AS "#source", "#row" + shift + {before} AS "#source_row" FROM ({rows})""",
            [source],
        )
        self.connection.execute("DROP TABLE part")

    def _rejected_lines(self, header: int) -> pa.Table:
        """The data rows that the CSV reader could not cut: row, j-th of them, number of good rows before it."""
        (there,) = self._one("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'")
        if not there:
            return pa.table({"row": pa.array([], pa.int64())})
        found = self.connection.sql(
            f"""SELECT line - {header} AS row, row_number() OVER (ORDER BY line) AS j, row - j AS good
                FROM (SELECT DISTINCT line FROM reject_errors) ORDER BY line"""
        ).to_arrow_table()
        self.connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        return found

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self.connection.execute(query).fetchone()
        assert row is not None
        return row

    def count(self, raw: str) -> int:
        return int(self._one(f"SELECT count(*) FROM {raw}")[0])

    def unparsable(self, raw: str) -> int:
        return int(self._one(f'SELECT count(*) FROM {raw} WHERE NOT "#parsable"')[0])

    def texts(self, raw: str) -> Frame:
        """The rows that could be cut, with the columns as they were read."""
        return nw.from_native(self.connection.sql(f'FROM {raw} WHERE "#parsable"'))

    # --- the log --------------------------------------------------------------------------------------------------

    def log(self, raw: str, roles: Roles, where: str = "") -> Frame:
        """The log as `cleaning` reads it, one row for each row of the raw table.

        source, row, source_row, parsable · user_id, item_id, event (null where empty) · time (microseconds since 1970)
        and value, null where they are missing or cannot be read · time_text and value_text, from which they were
        read · passes, the user's own row filter.
        """
        time, value = reading.column(roles.time), reading.column(roles.value)
        parsed = reading.number(value)
        columns = {
            "source": '"#source"',
            "row": '"#row"',
            "source_row": '"#source_row"',
            "parsable": '"#parsable"',
            "user_id": reading.cell(roles.user),
            "item_id": reading.cell(roles.item),
            "event": reading.cell(roles.event),
            "time_text": time,
            "value_text": value,
            "time": reading.microseconds(time, roles.time_format) if roles.time else "NULL::BIGINT",
            "value": f"CASE WHEN isfinite({parsed}) THEN {parsed} END",
            "passes": self._filter(raw, roles, where) if where else "true",
        }
        chosen = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
        return nw.from_native(self.connection.sql(f"SELECT {chosen} FROM {raw}"))

    def _filter(self, raw: str, roles: Roles, where: str) -> str:
        """The user's condition as one on `#source_row`. Columns that hold nothing but numbers are numeric in it."""
        columns = [c for c in self.connection.table(raw).columns if not c.startswith("#")]
        number = {c: reading.number(reading.quoted(c)) for c in columns}
        tests = [f"bool_and(trim({reading.quoted(c)}) = '' OR {number[c]} IS NOT NULL)" for c in columns]
        found = self._one(f"SELECT {', '.join(tests)} FROM {raw}")
        numeric = {c for c, only in zip(columns, found, strict=True) if only or c == roles.value}
        typed = ", ".join(f"{number[c]} AS {reading.quoted(c)}" for c in columns if c in numeric)
        rows = f"SELECT * REPLACE ({typed}) FROM {raw}" if typed else f"FROM {raw}"
        passing = self._name()
        try:
            self.connection.execute(
                f'CREATE TEMP TABLE {passing} AS SELECT "#source_row" AS passed FROM ({rows}) WHERE ({where})'
            )
        except (duckdb.ParserException, duckdb.BinderException, duckdb.ConversionException) as error:
            raise SettingsError(
                f"the row filter cannot be used: {str(error).splitlines()[0]}",
                where=f"clean.interactions.where = {where!r}",
                fix="write the condition as SQL over the columns; TRY_CAST(x AS DOUBLE) reads a text as a number",
            ) from error
        return f'"#source_row" IN (SELECT passed FROM {passing})'


@contextmanager
def _told_of(file: RawFile) -> Iterator[None]:
    """Tell an error of the engine as one of the file that is read."""
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
        raise DataError(
            f"{file.location.name} cannot be read: {str(error).splitlines()[0]}",
            where=str(file.location),
            fix="say how it is written: format, separator, header, quoting, encoding",
        ) from error

"""The native part of the tables, on DuckDB: reading and parsing raw files, handing frames over. All else is Narwhals.

Every column is read as text, so that ids keep their leading zeros and "NA" stays a name; only an empty cell is missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import narwhals as nw
import pyarrow as pa

from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.ingest import locations, raw_files, spool, sql
from llmrec_cli.ingest.column_mapping import FileConfig
from llmrec_cli.ingest.dialect import Dialect, has_sequence_header, infer_dialect, leaves, rejoined
from llmrec_cli.ingest.engine_checks import check_names, check_width, read_errors
from llmrec_cli.ingest.interruptible import Interruptible
from llmrec_cli.ingest.locations import Location
from llmrec_cli.ingest.raw_files import Input, RawFile
from llmrec_cli.ingest.spool import NOTHING, Extra, Part, Spool

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from llmrec_cli.ingest.rules import Frame

Result = TypeVar("Result")
LEAST_MEMORY = 256 << 20
ROWS = 1 << 18
FIRST = 20_000
"""Records whose nested fields are looked at."""


class Engine:
    """A DuckDB connection that keeps to a memory limit and spills into a folder of its own, in `folder`.

    Unpacked and decoded copies of raw files lie there too; it goes when the engine ends, and also after an error.
    """

    def __init__(self, memory: int, threads: int, folder: Path) -> None:
        self.folder = folder / "engine"
        shutil.rmtree(self.folder, ignore_errors=True)  # what a killed run left
        self.folder.mkdir(mode=0o700)
        self.connection: DuckDBPyConnection = duckdb.connect(
            config={
                "memory_limit": f"{max(memory, LEAST_MEMORY) >> 20}MiB",
                "temp_directory": str(self.folder),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                **({"threads": threads} if threads else {}),
            }
        )
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET lock_configuration = true")
        self._worker = Interruptible(self.connection.interrupt)
        self._made = 0
        self.rejoined = 0
        self.spools: dict[str, Spool] = {}
        """The rows of raw tables, by the names of these."""
        self.closing = ExitStack()
        """What ends with the engine."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()
        if not self._worker.stuck:
            self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, work: Callable[[], Result]) -> Result:
        """Run work of the engine outside of the main thread, so that signals end it."""
        try:
            return self._worker.run(work)
        except duckdb.OutOfMemoryException as error:
            what = f"the memory does not suffice: {str(error).splitlines()[0]}"
            raise DataError(what, fix="--max-memory 8GB, or more room on the disk of the work directory") from error

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query of the program's own."""
        return self._run(lambda: self.connection.execute(query, list(values)).fetchall())

    def one(self, query: str) -> tuple[Any, ...]:
        return self.rows(query)[0]

    # --- between Narwhals and the engine --------------------------------------------------------------------------

    def log(self, log: Any) -> Frame:
        found: Frame = log.frame()
        return found

    def keep(self, frame: Frame) -> Frame:
        """Compute a frame once; what follows reads the result."""
        name = self.name()
        self._run(lambda: frame.to_native().create(name))
        return nw.from_native(self.connection.table(name))

    def put(self, data: pa.Table) -> Frame:
        """An Arrow table as a frame of this engine."""
        return nw.from_native(self.connection.table(self.name(data)))

    def arrow(self, frame: Frame) -> pa.Table:
        return self._run(lambda: frame.to_native().to_arrow_table())

    def save(self, frame: Frame, path: Path) -> None:
        """Write a frame as Parquet, for another engine."""
        self._run(lambda: frame.to_native().write_parquet(str(path)))

    def frame(self, query: str) -> Frame:
        """A query of the program's own as a frame."""
        return nw.from_native(self.connection.sql(query))

    def reader(self, query: str, rows: int = ROWS) -> pa.RecordBatchReader:
        """The rows of a query of the program's own, in pieces, for another engine."""
        return self._run(lambda: self.connection.sql(query).to_arrow_reader(rows))

    def batches(self, frame: Frame, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows of the frame, in its order, in pieces."""
        reader = self._run(lambda: frame.to_native().to_arrow_reader(rows))
        while (batch := self._run(lambda: next(reader, None))) is not None:
            yield batch

    def tables(self, frame: Frame) -> Iterator[pa.Table]:
        """The same as tables."""
        return (pa.Table.from_batches([batch]) for batch in self.batches(frame))

    def name(self, data: pa.Table | None = None) -> str:
        """A new name of a table; that of `data`, where given."""
        self._made += 1
        made = f"frame_{self._made}"
        if data is not None:
            self.connection.register(made, data)
        return made

    # --- raw files ------------------------------------------------------------------------------------------------

    def open(self, config: FileConfig, base: Path, *, sequences: bool = False) -> list[Input]:
        """Every file that the settings name, unpacked, decoded and looked at."""
        found = locations.locate(config.path or "", base)
        return [self.open_one(location, config, sequences=sequences) for location in found]

    def open_one(self, location: Location, config: FileConfig, *, sequences: bool = False) -> Input:
        """One of these files."""
        file = raw_files.prepare(location, config.encoding, self.folder)
        return Input(file, self._dialect(file, config, sequences))

    def _dialect(self, file: RawFile, config: FileConfig, sequences: bool) -> Dialect:
        if sequences:
            named = has_sequence_header(file.head, config.separator) if config.header is None else config.header
            return Dialect("sequences", ("user", "item"), config.separator, named)
        if file.parquet or config.format == "parquet":
            return Dialect("parquet", tuple(self._types(file)))
        dialect = infer_dialect(
            file.head,
            file.quoted_lines,
            separator=config.separator,
            header=config.header,
            quoting=config.quoting,
            columns=config.columns,
            format=config.format,
        )
        if dialect.format in ("json", "json-array"):
            dialect = replace(dialect, columns=self._json_columns(file, dialect))
            if not dialect.columns:
                what = f"{file.location.name} has no JSON objects, one a line or in one array"
                raise DataError(what, where=str(file.location), fix="for an array inside of an object: jq .NAME FILE")
        return check_width(dialect, file)

    def _json_columns(self, file: RawFile, dialect: Dialect) -> tuple[str, ...]:
        """The keys in the order of the first lines, then rarer ones; fields of what the first records hold."""
        records = f"{sql.records(file, array=dialect.format == 'json-array')} WHERE json_valid(line)"
        with read_errors(file):
            rare = sorted(key for (key,) in self.rows(f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {records}"))
            (first,) = self.one(f"SELECT json_group_structure(line::JSON)::VARCHAR FROM (FROM {records} LIMIT {FIRST})")
        found = known if isinstance(known := json.loads(first or "0"), dict) else {}
        keys = (*dialect.columns, *found, *rare)
        # SQL has no column without a name
        return tuple(leaf for key in dict.fromkeys(filter(None, keys)) for leaf in leaves(found.get(key), key))

    def _types(self, file: RawFile) -> dict[str, tuple[str, str]]:
        with read_errors(file):
            relation = self._run(lambda: self.connection.sql(f"FROM {sql.parquet(file)} LIMIT 0"))
            columns = list(zip(relation.columns, relation.types, strict=True))
        return {name: field for column, type_ in columns for name, field in sql.fields(column, type_)}

    def raw(
        self,
        inputs: Sequence[Input],
        columns: Sequence[str],
        limit: int | None = None,
        *,
        ragged: str = "",
        extra: Extra = NOTHING,
    ) -> str:
        """Read named columns of the files as text, one file after the other; the name of the table made.

        Next to them stand `#source`, the file's name, `#row`, which counts its data rows from 1, `#source_row`, which
        counts those of all files, and `#parsable`: false for a row with a wrong number of columns, which has nulls.
        With `limit` only the first rows of each file are read. With `ragged`, a column that may hold separators, rows
        with a wrong number of columns are kept too (`dialect.rejoined`), and counted in `self.rejoined`.
        """
        check_names(inputs, columns)
        parts: list[Part] = []
        for source, each in zip(raw_files.distinct_names(inputs), inputs, strict=True):
            path = self.folder / f"{self.name()}.arrow"
            rows = self.spool(path, each, columns, limit, ragged=ragged, extra=extra)
            parts.append(Part(path, source, sum(part.rows for part in parts), rows))
        return self.table(Spool(tuple(parts)))

    def spool(
        self, path: Path, each: Input, columns: Sequence[str], limit: int | None = None, *, ragged: str, extra: Extra
    ) -> int:
        """Write the rows of one file as Arrow columns; how many they are."""
        types = self._types(each.file) if each.file.parquet else {}
        more = "".join(f", {expression} AS {sql.quoted(name)}" for name, expression in extra.parsed.items())
        rows = sql.rows(each, columns, types) + ("" if limit is None else f" LIMIT {limit}")
        with read_errors(each.file), disk_errors(self.folder):
            reader = self.reader(f"SELECT *{more} FROM ({rows})", spool.BATCH)
            batches = map(extra.change, reader) if extra.change else reader
            n = self._run(lambda: spool.write(path, reader.schema, batches))
            bad = self._rejected_lines(int(each.dialect.header), with_text=bool(ragged))
            return spool.insert(path, self._rejoined(bad, each.dialect, columns, ragged)) if bad.num_rows else n

    def table(self, rows: Spool) -> str:
        """The rows of a spool as a relation; its name."""
        import pyarrow.dataset as ds

        name, queries = self.name(), []
        for number, part in enumerate(rows.parts):
            self.connection.register(f"{name}_{number}", ds.dataset(part.path, format="ipc"))
            of_file = f'{sql.literal(part.source)} AS "#source", "#row" + {part.before} AS "#source_row"'
            queries.append(f"SELECT *, {of_file} FROM {name}_{number}")
        self.rows(f"CREATE TEMP VIEW {name} AS {' UNION ALL BY NAME '.join(queries)}")
        self.spools[name] = rows
        return name

    def _rejoined(self, bad: pa.Table, dialect: Dialect, columns: Sequence[str], ragged: str) -> pa.Table:
        """The lines of `_rejected_lines` as rows, with the named columns of those that can be kept."""
        keep = ragged in dialect.columns and len(dialect.separator.strip(" ")) > 0
        rows = [rejoined(text, dialect, ragged) for text in bad.column("text").to_pylist()] if keep else []
        self.rejoined += len(rows)
        parsable = pa.array([keep] * bad.num_rows, pa.bool_())
        table = bad.drop_columns("text").append_column("#parsable", parsable)
        for name in columns if keep else ():
            place = dialect.columns.index(name)
            table = table.append_column(name, pa.array([row[place] for row in rows], pa.string()))
        return table

    def _rejected_lines(self, header: int, *, with_text: bool) -> pa.Table:
        """The rows that the CSV reader could not cut: `good`, the number of those before that it could, and `text`."""
        (there,) = self.one("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'")
        if not there:
            return pa.table({"good": pa.array([], pa.int64())})
        text = "any_value(csv_line)" if with_text else "NULL::VARCHAR"
        query = f"""SELECT (line - {header} - row_number() OVER (ORDER BY line))::BIGINT AS good, text
            FROM (SELECT line, {text} AS text FROM reject_errors GROUP BY line) ORDER BY line"""
        found = self._run(lambda: self.connection.sql(query).to_arrow_table())
        self.rows("DROP TABLE reject_errors; DROP TABLE reject_scans")
        return found

    def count(self, raw: str, where: str = "true") -> int:
        return int(self.one(f"SELECT count(*) FROM {raw} WHERE {where}")[0])

    def texts(self, raw: str) -> Frame:
        """The rows that could be cut, with the columns as they were read."""
        return self.frame(f'FROM {raw} WHERE "#parsable"')

    def numbered(self, raw: str, columns: Sequence[str]) -> Frame:
        """The same with `#source_row` and some columns, called "0", "1", …: not every name can be in an expression."""
        chosen = [f"{sql.quoted(c)} AS {sql.quoted(str(i))}" for i, c in enumerate(columns)]
        return self.frame(f'SELECT {", ".join([sql.quoted("#source_row"), *chosen])} FROM {raw} WHERE "#parsable"')

    def check_time_format(self, time_format: str) -> None:
        """SettingsError where it is no format of times."""
        try:
            self.one(f"SELECT try_strptime('', {sql.literal(time_format)})")
        except duckdb.Error as error:
            raise SettingsError(
                f"{time_format!r} is no format of times: {str(error).splitlines()[0]}",
                where="clean.interactions.time_format",
                fix='for example "%d/%m/%Y %H:%M"',
            ) from error

"""Rows of raw files as Arrow columns on disk: read from the files once, then taken column by column."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

BATCH = 1 << 16
"""Rows that are read from a raw file at a time."""
PACKED = b"packed"
"""The metadata of a packed file."""


@dataclass(frozen=True)
class Extra:
    """What is done with rows on their way from a raw file."""

    parsed: Mapping[str, str] = field(default_factory=dict)
    """More columns: their names and their SQL over the columns read."""
    change: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None
    """Other values in the same columns."""


NOTHING = Extra()


@dataclass(frozen=True)
class Part:
    """The rows of one raw file; `before` stand in the files that come earlier."""

    path: Path
    source: str
    before: int
    rows: int


@dataclass(frozen=True)
class Spool:
    """The rows of some raw files, one file after the other."""

    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def pieces(self, names: Sequence[str], n_bytes: int) -> Iterator[pa.Table]:
        """Columns, about so many bytes at a time."""
        waiting, size = list[pa.RecordBatch](), 0
        for part in self.parts:
            start: int | None = 0
            while start is not None:
                some, start = _some(part.path, names, start, n_bytes - size)
                waiting += some
                size += sum(batch.nbytes for batch in some)
                del some
                if size >= n_bytes:
                    yield pa.Table.from_batches(waiting)
                    waiting, size = [], 0
        if waiting:
            yield pa.Table.from_batches(waiting)
        del waiting
        pa.default_memory_pool().release_unused()


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a file that `write` made."""
    start: int | None = 0
    while start is not None:
        some, start = _some(path, schema(path).names, start, 0)
        yield from some


def _some(path: Path, names: Sequence[str], start: int, n_bytes: int) -> tuple[list[pa.RecordBatch], int | None]:
    """Columns of batches from that number on, at least so many bytes if there are, and the number of the next batch.

    Each call maps the file anew: pages count as memory in use as long as their mapping is there.
    """
    there, found = schema(path), list[pa.RecordBatch]()
    # what is not packed is not copied either, unless columns are chosen here
    chosen = sorted(there.get_field_index(name) for name in names) if PACKED in (there.metadata or {}) else None
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=chosen))
        for number in range(start, reader.num_record_batches):
            found.append(reader.get_batch(number).select(list(names)))
            n_bytes -= found[-1].nbytes
            if n_bytes <= 0 and number + 1 < reader.num_record_batches:
                return found, number + 1
    return found, None


def schema(path: Path) -> pa.Schema:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).schema


def write(path: Path, schema: pa.Schema, pieces: Iterable[pa.RecordBatch], *, packed: bool = False) -> int:
    """Write batches; the number of rows."""
    n, options = 0, pa.ipc.IpcWriteOptions(compression="zstd" if packed else None)
    if packed:
        schema = schema.with_metadata({**(schema.metadata or {}), PACKED: b"zstd"})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as out:
        out.write_batch(pa.RecordBatch.from_pylist([], schema))  # there is one, also of an empty file
        for batch in pieces:
            out.write_batch(batch)
            n += batch.num_rows
    return n


def insert(path: Path, rows: pa.Table) -> int:
    """Put rows among those of a file: `good` is how many of the file's stand before each; the number of all rows.

    `rows` have some of the columns; `#row` counts anew.
    """
    places = rows.column("good").to_numpy()
    some, changed = rows.drop_columns("good"), path.with_suffix(".whole")
    columns = schema(path)

    def pieces() -> Iterator[pa.RecordBatch]:
        start = taken = 0
        for batch in chain(batches(path), [None]):
            n = 0 if batch is None else batch.num_rows
            end = len(places) if batch is None else int(np.searchsorted(places, start + n))
            here = columns.empty_table() if batch is None else pa.Table.from_batches([batch])
            table = pa.concat_tables([here, some.slice(taken, end - taken)], promote_options="default")
            order = np.insert(np.arange(n), np.minimum(places[taken:end] - start, n), np.arange(n, len(table)))
            numbers = pa.array(np.arange(start + taken + 1, start + taken + len(table) + 1))
            table = table.take(pa.array(order)).set_column(columns.get_field_index("#row"), "#row", numbers)
            yield from table.cast(columns).to_batches()
            start, taken = start + n, end

    n_rows = write(changed, columns, pieces())
    os.replace(changed, path)
    return n_rows

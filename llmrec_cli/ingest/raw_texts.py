"""The text of rejected rows as it stands in the raw files: these are read again, and only what is wanted is held."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import REJECTS
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import raw_files, rules, sql
from llmrec_cli.ingest.appended import PARSED
from llmrec_cli.ingest.text_scan import CHUNK, line_ends

if TYPE_CHECKING:
    from llmrec_cli.ingest.column_mapping import InteractionsConfig
    from llmrec_cli.ingest.raw_files import Input
    from llmrec_cli.ingest.raw_log import RawLog

PIECE = 1 << 16
"""Records that are read at a time."""
NAMELESS = (rules.FORGOTTEN, "unparsable")
"""Reasons of rows that are, or may be, of somebody who was forgotten."""


def known(work: WorkDir, inputs: Sequence[Input]) -> dict[str, pa.Table]:
    """Rows of the rejects that lie here by their source, of files whose columns were read before these were written."""
    if not work.has(REJECTS):
        return {}
    with suppress(UpstreamError):  # a table that is damaged
        rejects, written = work.read(REJECTS, ["source", "row", "raw"]), work.where(REJECTS).stat().st_mtime_ns
        old = [each.file.path.parent.name == PARSED and each.file.path.stat().st_mtime_ns < written for each in inputs]
        names = itertools.compress(raw_files.distinct_names(inputs), old)
        return {name: rejects.filter(pc.equal(rejects.column("source"), name)) for name in names}
    return {}


def with_raw(
    log: RawLog, config: InteractionsConfig, rejects: Iterable[pa.Table], before: Mapping[str, pa.Table]
) -> Iterator[pa.Table]:
    """Rejected rows in the order of the log, with `raw`: their line, or for Parquet the row as JSON.

    It is null where it would tell of people what else nothing tells: with pseudonyms everywhere, and when somebody was
    forgotten, in the rows that are or may be theirs. It is also null in a file whose lines are not its rows. `before`
    has texts that are known: of a log that grows only new files are read.
    """
    rows = {part.source: part.rows for part in log.spool.parts}
    sources = zip(raw_files.distinct_names(log.inputs), log.inputs, strict=True)
    texts = {source: _Texts(_texts(log, config, each, rows.get(source, 0))) for source, each in sources}
    for piece in rejects:
        if log.people and log.people.pseudonymise:
            yield piece.append_column("raw", pa.nulls(piece.num_rows, pa.string()))
            continue
        found = list[pa.Array]()
        for source in pc.unique(piece.column("source")).to_pylist():
            there = piece.filter(pc.equal(piece.column("source"), source)).column("row").to_numpy()
            found += _known(before.get(source), there) or texts[source].take(there)
        raw = pa.chunked_array(found, pa.string())
        if log.people:
            may_be_theirs = pc.is_in(piece.column("reason"), value_set=pa.array(NAMELESS))
            raw = pc.if_else(may_be_theirs, pa.scalar(None, pa.string()), raw)
        yield piece.append_column("raw", raw)


def _known(before: pa.Table | None, rows: Ints) -> list[pa.Array]:
    """The texts of some rows, if all are known."""
    if before is None or not before.num_rows:
        return []
    places = np.minimum(np.searchsorted(before.column("row").to_numpy(), rows), before.num_rows - 1)
    same = before.take(pa.array(places))
    return same.column("raw").chunks if np.array_equal(same.column("row").to_numpy(), rows) else []


class _Texts:
    """The texts of a file, row by row."""

    def __init__(self, pieces: Iterator[pa.Array]) -> None:
        self._pieces, self._before, self._piece = pieces, 0, pa.array([], pa.string())

    def take(self, rows: Ints) -> Iterator[pa.Array]:
        """Those of some rows, from 1 and ascending, after the rows that were taken before."""
        while len(rows):
            end = self._before + len(self._piece)
            n = int(np.searchsorted(rows, end, side="right"))
            yield pc.utf8_rtrim(self._piece.take(pa.array(rows[:n] - self._before - 1, pa.int64())), "\r\n")
            rows = rows[n:]
            if len(rows):
                self._before, self._piece = end, next(self._pieces)


def _texts(log: RawLog, config: InteractionsConfig, each: Input, n_rows: int) -> Iterator[pa.Array]:
    if each.file.path.parent.name == PARSED:  # its columns were read before, the texts were not
        each = log.engine.open_one(each.file.location, config, sequences=config.layout == "sequences")
    dialect, file = each.dialect, each.file
    if dialect.format == "csv" and file.n_lines != n_rows + dialect.header:  # empty lines, or values of several lines
        if sum(1 for _ in _records(each)) == n_rows:
            records = _records(each)
            while some := list(itertools.islice(records, PIECE)):
                yield pa.array(some, pa.string())
        yield from itertools.repeat(pa.nulls(PIECE, pa.string()))
    if dialect.format == "csv":
        yield from _lines(each)
    batches = log.engine.batches(log.engine.frame(sql.texts(each)), PIECE)
    yield from (batch.column(0).cast(pa.string()) for batch in batches)


def _lines(each: Input) -> Iterator[pa.Array]:
    """The lines of a text without its header, with their ends."""
    skipped = int(each.dialect.header)
    with each.file.path.open("rb") as stream:
        while chunk := stream.read(CHUNK) + stream.readline():
            ends = line_ends(chunk) + 1
            ends = np.append(ends, len(chunk)) if not chunk.endswith(b"\n") else ends
            offsets = pa.py_buffer(np.append(0, ends).astype(np.int32))
            yield pa.StringArray.from_buffers(len(ends), offsets, pa.py_buffer(chunk))[skipped:]
            skipped = 0


def _records(each: Input) -> Iterator[str]:
    """The records of separated text without its header: lines, or several where a quote is open; no empty ones."""
    with each.file.path.open(encoding="utf-8", newline="\n") as stream:
        record, is_open = list[str](), False
        skipped = int(each.dialect.header)
        for line in stream:
            record.append(line)
            is_open ^= each.dialect.quoting and line.count('"') % 2 == 1
            if not is_open:
                text, record = "".join(record).rstrip("\r\n"), []
                if text.strip() and (skipped := skipped - 1) < 0:
                    yield text

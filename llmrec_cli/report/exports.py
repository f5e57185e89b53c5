"""What `recommend --format` writes: the lists with titles as csv, json lines or parquet, to a file or to stdout."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.config import STAGES
from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.errors import SettingsError, did_you_mean
from llmrec_cli.core.printable import printable, printable_json
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report.views import LISTED, Json, Titles, list_row

COLUMNS = (USER, "rank", ITEM, "title", "score", "strategy", "reason")
FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def format_of(output: str | None) -> str:
    """The format that a file name asks for; json lines for stdout."""
    if output in (None, "-"):
        return "jsonl"
    suffix = Path(str(output)).suffix.lower()
    if suffix not in FORMATS:
        raise SettingsError(f"the name {output!r} does not say which format", fix="--format csv, jsonl or parquet")
    return FORMATS[suffix]


def agreed(work: WorkDir, format: str | None, output: str | None, *, as_json: bool) -> str | None:
    """The format to write, None where no export is asked for; SettingsError before anything works."""
    if format is None and output is None:
        return None
    chosen = format or format_of(output)
    if chosen not in WRITERS:
        raise SettingsError(f"no format is called {chosen!r}", fix=did_you_mean(chosen, WRITERS))
    if output in (None, "-"):
        if as_json:
            raise SettingsError("both --json and the export want stdout", fix="--output FILE, or leave out --json")
        return chosen
    path = Path(str(output))
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a folder", where="--output", fix=f"--output {path / 'lists'}.{chosen}")
    inside = path.resolve()
    if any(inside.is_relative_to((work.path / stage).resolve()) for stage in STAGES):
        raise SettingsError(
            "the export would lie among the artifacts", where=str(path), fix="--output a file outside of the stages"
        )
    return chosen


def export(work: WorkDir, format: str, output: str | None, rows: pa.Table | None = None) -> None:
    """Write these rows of `recommendations`, or all, to a file, whole or not at all, or to stdout ("-" or None).

    The folder of the file is made where it is missing.
    """
    pieces = work.batches(RECOMMENDATIONS) if rows is None else rows.to_batches()
    with _opened(output) as file:
        WRITERS[format](_rows(work, pieces), file)


def _rows(work: WorkDir, pieces: Iterable[pa.RecordBatch]) -> Iterator[Json]:
    titles = Titles(work)
    for piece in pieces:
        for row in piece.select([USER, *LISTED]).to_pylist():
            yield {USER: row[USER], **list_row(row, titles)}


@contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    """A binary stream: stdout, or a temporary file that takes the place of the named one at the end."""
    if output in (None, "-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(str(output))
    temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    with disk_errors(final, "a writable place with --output"):
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
            os.replace(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)


def _write_jsonl(rows: Iterable[Json], file: BinaryIO) -> None:
    """One object a user."""
    kept = (ITEM, "title", "score", "reason", "strategy")
    for user_id, group in itertools.groupby(rows, key=lambda row: row[USER]):
        items = [{key: row[key] for key in kept} for row in group]
        line = printable_json(json.dumps({USER: user_id, "items": items}, ensure_ascii=False))
        file.write(line.encode() + b"\n")


def _write_csv(rows: Iterable[Json], file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    as_shown = printable if file.isatty() else lambda value: value  # a terminal obeys what a file only keeps
    writer.writerows([as_shown(harmless(row[name])) for name in COLUMNS] for row in rows)
    text.detach()  # the stream belongs to the caller


def _write_parquet(rows: Iterable[Json], file: BinaryIO) -> None:
    kept = {name: RECOMMENDATIONS.schema.field(name).type for name in COLUMNS if name != "title"}
    schema = pa.schema([(name, kept.get(name, pa.string())) for name in COLUMNS])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        left = iter(rows)
        while piece := list(itertools.islice(left, 65_536)):
            writer.write_table(pa.Table.from_pylist(piece, schema=schema))


WRITERS: dict[str, Callable[[Iterable[Json], BinaryIO], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, with a quote before it; anything else as it is."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

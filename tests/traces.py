"""Looks for people in a work directory: in the bytes of every file, in every text of its tables and JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def raw(work: Path, ids: Iterable[str]) -> list[str]:
    """`file: id` wherever an id stands in the bytes of a file, in its name, or in a decoded text of a table."""
    wanted, found = sorted(ids), []
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        content = path.read_bytes() + path.relative_to(work).as_posix().encode()
        if path.read_bytes()[:4] == b"PAR1":
            content += "\n".join(text for column in pq.read_table(path).columns for text in texts(column)).encode()
        found += [f"{path.relative_to(work)}: {each}" for each in wanted if each.encode() in content]
    return found


def by_role(work: Path, ids: Iterable[str]) -> list[str]:
    """The same for ids that may also be other things: only in user columns and in what JSON and the page call users."""
    wanted, found = set(ids), []
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        found += [f"{path.relative_to(work)}: {each}" for each in sorted(wanted & set(_users(path)))]
    return found


def _users(path: Path) -> Iterator[str]:
    if path.read_bytes()[:4] == b"PAR1":
        table = pq.read_table(path)
        if "user_id" in table.column_names:
            yield from filter(None, table.column("user_id").to_pylist())
    elif path.suffix == ".json":
        yield from _named(json.loads(path.read_text()))
    elif path.suffix == ".html":
        data = path.read_text().split('<script type="application/json"')[1].split(">", 1)[1].split("</script>")[0]
        yield from (user["id"] for user in json.loads(data)["users"])


def _named(value: Any) -> Iterator[str]:
    """Every key, and every text, of JSON."""
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _named(each)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, str):
        yield value


def texts(column: pa.ChunkedArray | pa.Array) -> Iterator[str]:
    """Every text in a column, inside lists and structures too."""
    if isinstance(column, pa.ChunkedArray):
        for chunk in column.chunks:
            yield from texts(chunk)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield from filter(None, column.to_pylist())
    elif pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        yield from texts(column.flatten())
    elif pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from texts(part)

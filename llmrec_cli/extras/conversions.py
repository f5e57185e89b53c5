"""Files that no engine reads, written anew as text: sheets of Excel files, and records as Python prints them."""

from __future__ import annotations

import ast
import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmrec_cli.core.errors import DataError, MissingExtraError


def sheets(path: Path) -> list[str]:
    """The names of the sheets of an Excel file."""
    return list(_workbook(path).sheetnames)


def write_sheet(path: Path, sheet: str, target: Path) -> None:
    """A sheet as comma-separated text: dates as ISO, whole numbers without a point, no empty rows."""
    with target.open("w", encoding="utf-8", newline="") as out:
        rows = _workbook(path)[sheet].iter_rows(values_only=True)
        csv.writer(out, lineterminator="\n").writerows(
            [_cell(v) for v in row] for row in rows if any(v is not None for v in row)
        )


def _workbook(path: Path) -> Any:
    try:
        import openpyxl  # type: ignore[import-untyped]
    except ImportError as error:
        what = f"{path.name} is an Excel file, which is read by a package that is not installed"
        raise MissingExtraError(
            what, where=str(path), fix="pip install 'llmrec-cli[xlsx]', or save it as CSV"
        ) from error
    try:
        return openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # a damaged file may raise anything
        what = f"{path.name} cannot be read: {error}"
        raise DataError(what, where=str(path), fix="is the file whole? save it as CSV and name that") from error


def _cell(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.isoformat(sep=" ") if hasattr(value, "hour") and hasattr(value, "year") else value


def write_literals(path: Path, target: Path) -> None:
    """Records as Python prints them, such as {u'user': u'u1', 'paid': True}, as JSON; a line that is none stays so."""
    with path.open(encoding="utf-8") as source, target.open("w", encoding="utf-8") as out:
        out.writelines(_converted(source))


def _converted(source: Iterator[str]) -> Iterator[str]:
    while lines := list(itertools.islice(source, 1 << 14)):
        records = ((line, _literal(line)) for line in lines)
        yield "".join(json.dumps(r, default=str) + "\n" if isinstance(r, dict) else line for line, r in records)


def _literal(line: str) -> Any:
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None

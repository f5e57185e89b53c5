"""What the values of a raw column have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.ingest.column_names import NAMES, plain

MOST = 0.95


@dataclass(frozen=True)
class Facts:
    """What the values of a column have in common."""

    name: str
    rows: int
    n_filled: int
    n_distinct: int
    numbers: tuple[float, float] | None
    """Least and greatest where nearly all are numbers."""
    whole: bool
    """Every number is a whole one."""
    words: float
    """Mean number of words."""
    values: pa.Array
    """The different values."""

    @property
    def plain_name(self) -> str:
        """The words of the name in small letters without accents."""
        return plain(self.name)

    def named(self, field: str) -> bool:
        return re.search(NAMES[field], self.plain_name) is not None

    def share(self, regex: str) -> float:
        """The share of the different values that match a regular expression (of RE2) from end to end."""
        fits = pc.match_substring_regex(self.values, rf"^(?:{regex})$")
        return (pc.sum(fits).as_py() or 0) / max(len(self.values), 1)


def facts(table: pa.Table) -> dict[str, Facts]:
    """Facts of each column of a table of texts; empty cells count as missing."""
    return {name: _facts(name, table.column(name)) for name in table.column_names}


def _facts(name: str, column: pa.ChunkedArray) -> Facts:
    values = pc.utf8_trim_whitespace(column)
    values = values.filter(pc.fill_null(pc.not_equal(values, ""), False))
    different = values.unique()
    numeric = pc.match_substring_regex(different, r"^[+-]?\d+(\.\d+)?$")
    numbers = different.filter(numeric).cast(pa.float64())
    span = None
    if len(numbers) and len(numbers) >= MOST * len(different):
        low_high = pc.min_max(numbers).as_py()
        span = (low_high["min"], low_high["max"])
    whole = span is not None and bool(pc.all(pc.equal(numbers, pc.floor(numbers))).as_py())
    words = pc.mean(pc.count_substring(different, " ")).as_py()
    return Facts(name, len(column), len(values), len(different), span, whole, 1 + (words or 0), different)

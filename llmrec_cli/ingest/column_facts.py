"""What the values of a raw column have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.ingest.column_names import NAMES, plain

MOST = 0.95
PLAIN = r"^[+-]?\d+(\.\d+)?$"
COMMAS = r"^[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?$"
"""Numbers such as 3,5 and 1.234,50."""
VOID = pa.array(["na", "n/a", "nan", "null", "none", "\\n", "-", "?", "unknown"])
"""What stands for nothing."""


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
    void: float
    """The share of the rows that say that there is none."""
    decimal: str
    """"," where the numbers have a decimal comma."""

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
    void = pc.is_in(pc.utf8_lower(different), value_set=VOID)
    said = different.filter(pc.invert(void))
    n_void = pc.sum(pc.is_in(values, value_set=different.filter(void))).as_py() or 0
    # a comma before three digits may as well be one of thousands
    comma = _any(said, r",(\d{1,2}|\d{4,})$") and not _any(said, r"\.(\d{1,2}|\d{4,})$")
    written = pc.replace_substring(pc.replace_substring(said, ".", ""), ",", ".") if comma else said
    numeric = pc.match_substring_regex(said, COMMAS if comma else PLAIN)
    numbers = written.filter(numeric).cast(pa.float64())
    span = None
    if len(numbers) and len(numbers) >= MOST * len(said):
        low_high = pc.min_max(numbers).as_py()
        span = (low_high["min"], low_high["max"])
    whole = span is not None and bool(pc.all(pc.equal(numbers, pc.floor(numbers))).as_py())
    words = pc.mean(pc.count_substring(different, " ")).as_py()
    counts = len(column), len(values), len(different)
    share, decimal = n_void / max(len(column), 1), "," if comma and span else "."
    return Facts(name, *counts, span, whole, 1 + (words or 0), different, share, decimal)


def _any(values: pa.Array, regex: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, regex)).as_py())


def properties(table: pa.Table, key: str, columns: Sequence[str]) -> pa.Table:
    """One row for each value of the key with those columns that are properties of it.

    A column is one where hardly any key has more than one value, and most keys have a value.
    """
    keyed = table.filter(pc.is_valid(table.column(key)))
    one = keyed.group_by([key], use_threads=False).aggregate([(c, "first") for c in columns])
    filled = {c: pc.count_distinct(keyed.filter(pc.is_valid(keyed.column(c))).column(key)).as_py() for c in columns}
    kept = [c for c, n_keys in filled.items() if 2 * n_keys > one.num_rows and not varies(keyed, key, c)]
    return pa.table({c: one.column(f"{c}_first") for c in kept})


def varies(table: pa.Table, key: str, column: str) -> bool:
    """Whether more than a few keys have several values in a column."""
    there = pc.and_(pc.is_valid(table.column(key)), pc.is_valid(table.column(column)))
    pairs = table.select([key, column]).filter(there)
    n_pairs: int = pairs.group_by([key, column]).aggregate([]).num_rows
    n_keys: int = pc.count_distinct(pairs.column(key)).as_py()
    return n_pairs > 1.25 * n_keys

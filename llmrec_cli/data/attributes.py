"""The further columns that `clean` kept of items and users, as columns again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Doubles


def by_name(column: pa.ChunkedArray[Any]) -> dict[str, pa.Array[Any]]:
    """Name -> (rows,) texts, null where a row has no such attribute; `column` is `attributes` of clean/items or users.

    Of an attribute that a row names twice the last value is taken. Names are in alphabetical order.
    """
    lists = column.combine_chunks()
    flat = lists.flatten()
    rows = np.repeat(np.arange(len(lists)), np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))
    names, values = flat.field("name"), flat.field("value")
    found = {}
    for name in sorted(filter(None, pc.unique(names).to_pylist())):
        at = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(names, name), False)))
        place = np.full(len(lists), -1, dtype=np.int64)
        place[rows[at]] = at
        found[name] = values.take(pa.array(place, mask=place < 0))
    return found


def amounts(texts: pa.Array[Any]) -> Doubles:
    """(rows,) the first number of texts such as "$1,299.00", "12,50 EUR" or "1.299,00"; NaN where there is none."""
    found = pc.struct_field(pc.extract_regex(texts, r"(?P<number>\d[\d.,]*)"), "number")
    # a comma is a decimal one before one or two last digits, a point after a comma or alone
    continental = pc.fill_null(pc.match_substring_regex(found, r",\d{1,2}$"), False)
    dotted = pc.replace_substring(pc.replace_substring(found, ".", ""), ",", ".")
    plain = pc.replace_substring(found, ",", "")
    chosen = pc.replace_substring_regex(pc.if_else(continental, dotted, plain), r"\.$", "")
    numeric = pc.fill_null(pc.match_substring_regex(chosen, r"^\d+(\.\d+)?$"), False)
    chosen = pc.if_else(numeric, chosen, pa.scalar(None, pa.string())).cast(pa.float64())
    return np.asarray(pc.fill_null(chosen, np.nan), dtype=np.float64)

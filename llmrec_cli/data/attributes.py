"""The further columns that `clean` kept of items and users, as columns again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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

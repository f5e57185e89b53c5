"""Tags of an item: those given; else the levels of its category; else the telling words and phrases of its title."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints
from llmrec_cli.data.phrases import title_words

TAG_LIST = pa.list_(pa.string())


def item_tags(given: pa.Array, categories: pa.Array, titles: pa.Array) -> pa.Array:
    """(items,) lists of tags; each list the first of the three sources that has any for this item."""
    chosen = first_non_empty(given, pc.split_pattern(categories, " > "))
    return distinct(first_non_empty(chosen, title_words(titles)))


def first_non_empty(lists: pa.Array, others: pa.Array) -> pa.Array:
    """Each list of `lists` that is there and not empty, else that of `others`, else an empty one."""
    empty = pa.scalar([], TAG_LIST)
    some = pc.fill_null(pc.greater(pc.list_value_length(lists), 0), False)
    return pc.if_else(some, lists, pc.coalesce(others.cast(TAG_LIST), empty)).cast(TAG_LIST)


def distinct(lists: pa.Array) -> pa.Array:
    """The lists without repeated and empty values, in their order."""
    parents = np.asarray(pc.list_parent_indices(lists)).astype(np.int64)
    values = pc.list_flatten(lists)
    codes = np.asarray(pc.fill_null(values.dictionary_encode().indices, -1)).astype(np.int64)
    _, first = np.unique(np.stack([parents, codes]), axis=1, return_index=True)
    kept = np.sort(first[np.asarray(pc.fill_null(pc.not_equal(values, ""), False))[first]])
    return _lists(parents[kept], values.take(pa.array(kept)), len(lists))


def _lists(parents: Ints, values: pa.Array, rows: int) -> pa.Array:
    """Lists from flat values and the ascending row number of each."""
    offsets = np.searchsorted(parents, np.arange(rows + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.cast(pa.string()))

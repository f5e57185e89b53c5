"""Tags of an item: those given; else the levels of its category; else the informative words of its title."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints
from llmrec_cli.data.words import HAN, spaced

TAG_LIST = pa.list_(pa.string())

WORDS_OF_ITEM = 5
# A word of more than a tenth of the titles is no use; one of fewer than two (of 1 in 500 titles) is no tag.
MOST_COMMON = 0.1
RAREST = 1 / 500
STOP_WORDS = frozenset(
    """a about all an and any are as at be been but by can for from has have he her his how if in into is it its just
    my no not of off on one or our out over per she so than that the their them then there these they this to too two
    up us was we were what when where which who will with without you your""".split()  # noqa: SIM905
)


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


def title_words(titles: pa.Array) -> pa.Array:
    """(items,) up to five words of each title, those of fewest titles first."""
    letters = pc.utf8_lower(spaced(pc.coalesce(titles, pa.scalar(""))))
    words = pc.split_pattern_regex(letters, r"[^\p{L}]+")
    lists = distinct(words)
    values = pc.list_flatten(lists).dictionary_encode()
    if not len(values):
        return lists
    names = values.dictionary
    codes = np.asarray(values.indices).astype(np.int64)
    parents = np.asarray(pc.list_parent_indices(lists)).astype(np.int64)
    titles_with = np.bincount(codes, minlength=len(names))
    allowed = ~np.asarray(pc.is_in(names, value_set=pa.array(sorted(STOP_WORDS))))
    # two letters of Chinese are a word
    shortest = pc.if_else(pc.match_substring_regex(names, HAN), 2, 3)
    allowed &= np.asarray(pc.greater_equal(pc.utf8_length(names), shortest))
    allowed &= titles_with >= max(2, RAREST * len(lists))
    allowed &= titles_with <= max(2, MOST_COMMON * len(lists))
    alphabetical = np.argsort(np.asarray(pc.sort_indices(names)))
    kept = np.flatnonzero(allowed[codes])
    kept = kept[np.lexsort((alphabetical[codes[kept]], titles_with[codes[kept]], parents[kept]))]
    starts = np.searchsorted(parents[kept], parents[kept])
    kept = kept[np.arange(len(kept)) - starts < WORDS_OF_ITEM]
    return _lists(parents[kept], names.take(pa.array(codes[kept])), len(lists))


def _lists(parents: Ints, values: pa.Array, rows: int) -> pa.Array:
    """Lists from flat values and the ascending row number of each."""
    offsets = np.searchsorted(parents, np.arange(rows + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.cast(pa.string()))

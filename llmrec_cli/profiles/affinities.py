"""Habits of buying that a person can read: at what price, and of which brands, where the items say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core.arrays import Doubles, Ints
from llmrec_cli.core.columns import AFFINITIES, PRICE
from llmrec_cli.core.errors import DataError, did_you_mean
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.profiles.interests import PRIOR_EVENTS, Tagged, Window, at, describe, population_shares

PRICES = ("price",)
BRANDS = ("brand", "manufacturer", "vendor", "publisher", "author", "artist")
"""Parts of names of attributes that are a price or a brand, the likeliest first."""
MOST_BRANDS, LEAST_EVENTS = 3, 2
"""Brands told of a user, and events of a brand that are a habit at least."""
PEERS = 20
"""Priced items that a category needs for prices to be compared within it; else they are compared with all."""


def attribute(names: Mapping[str, Any], wanted: str, kinds: tuple[str, ...], setting: str) -> str | None:
    """The attribute called `wanted`, or the first whose name has one of `kinds`; None where there is none.

    DataError for a wanted one that the items do not have.
    """
    if wanted:
        if wanted not in names:
            raise DataError(
                f"items have no attribute {wanted!r}",
                where=setting,
                fix=did_you_mean(wanted, names) or "name the column in clean.items.attributes",
            )
        return wanted
    return next((name for kind in kinds for name in names if re.search(kind, name, re.IGNORECASE)), None)


def brands(histories: Sequences, values: pa.Array[Any]) -> pa.Array[Any]:
    """Column (tag, share, lift, support) of the brands that a user comes back to, from the items' brands (items,).

    Share is of the user's events whose item has a brand; lift is events over those expected of everyone, both raised by
    PRIOR_EVENTS as in `interests`. The brands with the largest support × lift come first; one event is no habit.
    """
    coded = pc.dictionary_encode(pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values))
    names, codes = coded.dictionary.to_pylist(), np.asarray(pc.fill_null(coded.indices, -1), dtype=np.int64)
    tags = _indicator(codes, names)
    branded = histories.matrix().multiply((codes >= 0)[None, :]).tocsr()
    window = Window.of(branded, tags)
    counts = histories.counts() * (codes >= 0)
    matrix = window.counts
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    brand, support = matrix.indices.astype(np.int64), matrix.data
    expected = window.events[users] * population_shares(counts, tags)[brand]
    lift = (support + PRIOR_EVENTS) / (expected + PRIOR_EVENTS)
    kept = np.flatnonzero(support >= LEAST_EVENTS)
    order = kept[np.lexsort((np.array(names, dtype=str)[brand[kept]], -(support * lift)[kept], users[kept]))]
    first = np.searchsorted(users[order], users[order])
    order = order[np.arange(len(order)) - first < MOST_BRANDS]
    fields = {
        "share": pa.array(window.shares(users[order], brand[order])),
        "lift": pa.array(lift[order].astype(np.float32)),
        "support": pa.array(at(matrix, users[order], brand[order]).round().astype(np.int32)),
    }
    return describe(users[order], brand[order], fields, names, len(histories)).cast(AFFINITIES)


def prices(histories: Sequences, price: Doubles, categories: pa.Array[Any]) -> pa.Array[Any]:
    """Column (typical, level, support): median price of a user's events, and how dear they are among similar items.

    `price` (items,) is NaN where it is not known; null for users without a priced event. An item's level is the share
    of the priced items of its category that are cheaper (of equal ones half); the user's is the mean over events,
    drawn towards 0.5 by PRIOR_EVENTS.
    """
    levels = _levels(price, categories)
    priced = ~np.isnan(price[histories.codes])
    users, values = histories.users[priced], price[histories.codes][priced]
    support = np.bincount(users, minlength=len(histories))
    ordered = values[np.lexsort((values, users))]
    ends = np.cumsum(support)
    some = np.flatnonzero(support)
    low, high = (ends - support + (support - 1) // 2)[some], (ends - support + support // 2)[some]
    typical = np.zeros(len(histories))
    typical[some] = (ordered[low] + ordered[high]) / 2
    sums = np.bincount(users, weights=levels[histories.codes][priced], minlength=len(histories))
    level = (sums + 0.5 * PRIOR_EVENTS) / (support + PRIOR_EVENTS)
    return pa.StructArray.from_arrays(
        [pa.array(typical), pa.array(level.astype(np.float32)), pa.array(support.astype(np.int32))],
        fields=list(PRICE),
        mask=pa.array(support == 0),
    )


def _levels(price: Doubles, categories: pa.Array[Any]) -> Doubles:
    """(items,) share of the priced items of the same category (of all, where those are few) that are cheaper."""
    coded = pc.dictionary_encode(pc.fill_null(categories, ""))
    group, known = np.asarray(coded.indices, dtype=np.int64), ~np.isnan(price)
    named = np.array([bool(name) for name in coded.dictionary.to_pylist()], dtype=bool)
    enough = (np.bincount(group[known], minlength=len(named)) >= PEERS) & named
    everything = _midranks(price, np.zeros(len(price), dtype=np.int64))
    return np.where(enough[group], _midranks(price, group), everything)


def _midranks(values: Doubles, group: Ints) -> Doubles:
    """(n,) share of the known values of the same group that are smaller, and half of those that are equal."""
    of_group = pd.Series(values).groupby(group)
    return ((of_group.rank() - 0.5) / of_group.transform("count")).to_numpy()


def _indicator(codes: Ints, names: list[str]) -> Tagged:
    some = np.flatnonzero(codes >= 0)
    entries = (np.ones(len(some), dtype=np.float32), (some, codes[some]))
    return Tagged(names, sp.csr_matrix(entries, shape=(len(codes), len(names))))

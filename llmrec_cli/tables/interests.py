"""Interests that a person can read: tags of a user's items, weighted by recency and by lift over everyone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.artifacts import TAGS

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Events of a tag that are assumed to go as expected before any is seen: one event of a rare tag proves little.
PRIOR_EVENTS = 3.0


@dataclass(frozen=True)
class Tagged:
    """The items' tags as a sparse matrix."""

    names: list[str]
    """(tags,) in alphabetical order."""
    matrix: sp.csr_matrix
    """(items, tags) 1 where the item has the tag."""


def tagged(tags: Sequence[Sequence[str] | None]) -> Tagged:
    """Index the tags of the items; a tag named twice by an item counts once, an empty one not at all."""
    lists = [[tag for tag in dict.fromkeys(item or ()) if tag] for item in tags]
    names, codes = np.unique(
        np.array([tag for item in lists for tag in item], dtype=object).astype(str), return_inverse=True
    )
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in lists], dtype=np.int64)])
    matrix = sp.csr_matrix(
        (np.ones(len(codes), dtype=np.float32), codes.reshape(-1).astype(np.int32), offsets),
        shape=(len(lists), len(names)),
    )
    return Tagged(names.tolist(), matrix)


def interests(history: sp.csr_matrix, tags: Tagged, population: Floats) -> sp.csr_matrix:
    """(users, tags) weight of each tag for each user: its decayed count × its lift over the population.

    `history` is (users, items) with decayed counts, `population` (tags,) the share of everyone's events that have
    the tag. Lift is observed over expected events, both raised by PRIOR_EVENTS (shrinkage as in Norén et al.,
    2013, "Shrinkage observed-to-expected ratios"), so that it nears 1 where there is little evidence.
    """
    counts = (history @ tags.matrix).tocsr()
    events = np.asarray(history.sum(axis=1)).reshape(-1)
    users = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    expected = events[users] * population[counts.indices]
    lift = (counts.data + PRIOR_EVENTS) / (expected + PRIOR_EVENTS)
    return sp.csr_matrix((counts.data * lift, counts.indices, counts.indptr), shape=counts.shape)


def population_shares(counts: npt.ArrayLike, tags: Tagged) -> Floats:
    """(tags,) share of all events whose item has the tag; `counts` is (items,) events of each item."""
    events = np.asarray(counts, dtype=np.float64)
    return np.asarray(events @ tags.matrix / max(events.sum(), 1.0), dtype=np.float32)


def normalised(weights: sp.csr_matrix) -> sp.csr_matrix:
    """The same with rows that sum to 1; a row without weights stays empty."""
    totals = np.asarray(weights.sum(axis=1)).reshape(-1)
    scale = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
    return sp.diags(scale.astype(np.float32)).dot(weights).tocsr()


def leading(weights: sp.csr_matrix, names: Sequence[str], n: int, least: float = 0.0) -> pa.Array[Any]:
    """The n largest weights of each row, at least `least`, as a column of (tag, weight), largest first, summing to 1.

    Equal weights stand in the order of `names`.
    """
    users = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    order = np.lexsort((weights.indices, -weights.data, users))  # users stay together: weights are CSR
    rank = np.arange(len(order)) - weights.indptr[:-1][users]
    values = weights.data[order]
    kept = (rank < n) & (values > 0) & (values >= least)
    users, codes, values = users[kept], weights.indices[order][kept], values[kept]
    totals = np.bincount(users, weights=values, minlength=weights.shape[0])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=weights.shape[0]))])
    structs = pa.StructArray.from_arrays(
        [
            pa.array(list(names), type=pa.string()).take(pa.array(codes)),
            pa.array((values / totals[users]).astype(np.float32)),
        ],
        names=["tag", "weight"],
    )
    return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), structs).cast(TAGS)

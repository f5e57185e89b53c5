"""Interests that a person can read: tags of a user's items, weighted by recency and by lift over everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Doubles, Floats, Ints, offsets_of
from llmrec_cli.core.columns import CHANGES, INTERESTS, TAGS
from llmrec_cli.core.min_support import enough

# Events of a tag that are assumed to go as expected before any is seen: one event of a rare tag proves little.
PRIOR_EVENTS = 3.0
# Newest events beyond (or short of) what was expected from which on a change is reported, the same in standard
# deviations, and how many changes are reported.
LEAST_CHANGE, CHANCE, MOST_CHANGES = 1.0, 2.0, 3


@dataclass(frozen=True)
class Tagged:
    """The items' tags as a sparse matrix."""

    names: list[str]
    """(tags,) in alphabetical order."""
    matrix: sp.csr_matrix
    """(items, tags) 1 where the item has the tag."""

    def common(self, histories: sp.csr_matrix, least: int) -> Bools:
        """(tags,) whether enough people have events with the tag for it to be shown; `histories` is (users, items)."""
        if least <= 1:
            return np.ones(len(self.names), dtype=bool)
        return enough(np.bincount((histories @ self.matrix).tocsr().indices, minlength=len(self.names)), least)

    def keep(self, some: Bools) -> Tagged:
        """Some of the tags, (tags,), alone."""
        return Tagged([name for name, kept in zip(self.names, some, strict=True) if kept], self.matrix[:, some])


def tagged(tags: Sequence[Sequence[str] | None]) -> Tagged:
    """Index the tags of the items; a tag named twice by an item counts once, an empty one not at all."""
    lists = [[tag for tag in dict.fromkeys(item or ()) if tag] for item in tags]
    found = pa.array([tag for item in lists for tag in item], pa.string()).dictionary_encode()
    place = {name: code for code, name in enumerate(sorted(found.dictionary.to_pylist()))}
    codes = np.array([place[name] for name in found.dictionary.to_pylist()], dtype=np.int32)[found.indices.to_numpy()]
    entries = np.ones(len(codes), dtype=np.float32), codes, offsets_of([len(item) for item in lists])
    return Tagged(list(place), sp.csr_matrix(entries, shape=(len(lists), len(place))))


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


def support(histories: sp.csr_matrix, tags: Tagged) -> sp.csr_matrix:
    """(users, tags) how many events of a user (users, items) have the tag."""
    return (histories @ tags.matrix).tocsr()


def leading(
    weights: sp.csr_matrix, names: Sequence[str], n: int, least: float = 0.0, events: sp.csr_matrix | None = None
) -> pa.Array[Any]:
    """The n largest weights of each row, at least `least`, as a column of (tag, weight), largest first, summing to 1.

    Equal weights stand in the order of `names`. With `events` (users, tags), the `support` of each weight, the column
    tells it too: (tag, weight, support), 0 where there is none.
    """
    users = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    order = np.lexsort((weights.indices, -weights.data, users))  # users stay together: weights are CSR
    rank = np.arange(len(order)) - weights.indptr[:-1][users]
    values = weights.data[order]
    kept = (rank < n) & (values > 0) & (values >= least)
    users, codes, values = users[kept], weights.indices[order][kept], values[kept]
    totals = np.bincount(users, weights=values, minlength=weights.shape[0])
    fields = {"weight": pa.array((values / totals[users]).astype(np.float32))}
    if events is not None:
        fields["support"] = pa.array(at(events, users, codes).round().astype(np.int32))
    return describe(users, codes, fields, names, weights.shape[0]).cast(TAGS if events is None else INTERESTS)


@dataclass(frozen=True)
class Window:
    """What users did in a part of their histories."""

    counts: sp.csr_matrix
    """(users, tags) events that have the tag."""
    events: Ints
    """(users,) events."""

    @classmethod
    def of(cls, histories: sp.csr_matrix, tags: Tagged) -> Window:
        """`histories` (users, items) with whole counts."""
        return cls(support(histories, tags), np.asarray(histories.sum(axis=1)).reshape(-1).round().astype(np.int64))

    def shares(self, users: Ints, codes: Ints) -> Floats:
        """Share of each user's events that have each tag; 0 for a user without events."""
        return np.asarray(at(self.counts, users, codes) / np.maximum(self.events[users], 1), dtype=np.float32)


def changes(before: Window, lately: Window, population: Floats, names: Sequence[str]) -> pa.Array[Any]:
    """Interests that rose or fell, as a column of (tag, before, lately), both shares of events; rising ones first.

    A tag is reported where its newest events are one more or less than expected, and two standard deviations of a
    binomial; at most `MOST_CHANGES` of either kind, the farthest from the expected first. Expected is the share among
    the events `before`, drawn towards the `population` (tags,) by PRIOR_EVENTS as lift is: one event of a new tag is no
    change.
    Users with fewer events before than lately have none, for lack of a long term.
    """
    both = (before.counts + lately.counts).tocsr()
    users = np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
    codes = both.indices.astype(np.int64)
    usual = (at(before.counts, users, codes) + PRIOR_EVENTS * population[codes]) / (before.events[users] + PRIOR_EVENTS)
    expected = lately.events[users] * usual
    surplus = at(lately.counts, users, codes) - expected
    chance = CHANCE * np.sqrt(np.maximum(expected * (1 - usual), 0))
    kept = (np.abs(surplus) >= np.maximum(chance, LEAST_CHANGE)) & (before.events >= lately.events)[users]
    users, codes, surplus = users[kept], codes[kept], surplus[kept]
    falling = surplus < 0
    order = np.lexsort((codes, -np.abs(surplus), falling, users))
    users, codes, falling = users[order], codes[order], falling[order]
    _, first, group = np.unique(users * 2 + falling, return_index=True, return_inverse=True)
    kept = np.arange(len(users)) - first[group] < MOST_CHANGES
    users, codes = users[kept], codes[kept]
    fields = {"before": pa.array(before.shares(users, codes)), "lately": pa.array(lately.shares(users, codes))}
    return describe(users, codes, fields, names, both.shape[0]).cast(CHANGES)


def at(matrix: sp.csr_matrix, rows: Ints, columns: Ints) -> Doubles:
    """(n,) the values of a sparse matrix at some places, 0 where it has none."""
    found = matrix.sorted_indices()
    width = np.int64(max(matrix.shape[1], 1))
    keys = np.repeat(np.arange(matrix.shape[0]), np.diff(found.indptr)) * width + found.indices
    wanted = np.asarray(rows, dtype=np.int64) * width + columns
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    if not len(keys):
        return np.zeros(len(wanted))
    return np.where(keys[place] == wanted, found.data[place], 0).astype(np.float64)


def describe(
    users: Ints, codes: Ints, fields: Mapping[str, pa.Array[Any]], names: Sequence[str], n_users: int
) -> pa.Array[Any]:
    """A list of (tag, ...) for each user; `users` ascend, `codes` are places in `names`, `fields` say more of each."""
    offsets = offsets_of(np.bincount(users, minlength=n_users))
    tag = pa.array(list(names), type=pa.string()).take(pa.array(codes))
    structs = pa.StructArray.from_arrays([tag, *fields.values()], names=["tag", *fields])
    return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), structs)

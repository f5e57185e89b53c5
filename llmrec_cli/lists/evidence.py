"""Why an item is in a list: the events and interests of the user that speak for it, as far as they can be counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, distinct, offsets_of, within_groups
from llmrec_cli.core.columns import EVIDENCE, ITEM
from llmrec_cli.core.min_support import enough
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.lists.build import OF_SEGMENT
from llmrec_cli.writing.claims import People

SEGMENT_POPULARITY, POPULARITY = "segment-popularity", "popularity"
"""Strategies of rows that no ranker chose: for users without events, and where candidates ran short."""

KINDS = ("followed", "together", "similar", "interest", "segment", "everyone")
FOLLOWED, TOGETHER, SIMILAR, INTEREST, SEGMENT, EVERYONE = range(len(KINDS))
LEAST = np.array([0.02, 0.02, 0.3], dtype=np.float32)
"""Support below this says nothing: for followed and together as a share of the strongest, for similar a cosine."""
PREFERENCE = 2.0
"""The kind of evidence that fits the strategy counts so many times when the leading evidence is chosen."""
RECENT_EVENTS, MOST_EVIDENCE, MOST_TAGS = 20, 3, 2
LOOKED_AT = 2 * MOST_EVIDENCE
"""Pieces of a row whose claims are counted, so that enough of them hold."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for the rows of a block, by row and then the strongest first. All arrays are (pieces,)."""

    rows: Ints
    kinds: npt.NDArray[np.int8]
    items: Codes
    """The event that speaks, -1 for none."""
    tags: Ints
    """The interest or segment that speaks, or the tag that makes two items alike; -1 for none."""
    weights: Floats
    often: Bools
    """Whether many people did what it says."""

    @classmethod
    def of(cls, rows: Ints, kinds: Any, weights: Floats, *, items: Any = -1, tags: Any = -1) -> Evidence:
        """Pieces that are counted by nobody yet; `kinds`, `items` and `tags` are one for all or (pieces,)."""
        given = {"kinds": (kinds, np.int8), "items": (items, np.int32), "tags": (tags, np.int64)}
        arrays = {name: np.full(len(rows), each, dtype=dtype) for name, (each, dtype) in given.items()}
        return cls(rows, **arrays, weights=weights.astype(np.float32), often=np.zeros(len(rows), dtype=bool))

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, n_rows: int) -> Ints:
        """(rows,) the piece that leads each row, -1 where nothing speaks for it."""
        leading = np.full(n_rows, -1, dtype=np.int64)
        leading[self.rows[::-1]] = np.arange(len(self))[::-1]
        return leading

    def keep(self, pieces: Bools | Ints) -> Evidence:
        """The evidence of some pieces, given as a mask or by number, in that order."""
        return Evidence(**{each.name: getattr(self, each.name)[pieces] for each in fields(self)})

    def column(self, n_rows: int, item_ids: pa.Array[Any], tags: pa.Array[Any]) -> pa.Array[Any]:
        """The column `evidence` of recommendations."""
        items = item_ids.take(pa.array(self.items, mask=self.items < 0))
        names = tags.take(pa.array(self.tags, mask=self.tags < 0))
        kinds = pa.array(KINDS).take(pa.array(self.kinds))
        columns = [kinds, items, names, pa.array(self.weights.astype(np.float32))]
        structs = pa.StructArray.from_arrays(columns, names=["kind", ITEM, "tag", "weight"])
        offsets = offsets_of(np.bincount(self.rows, minlength=n_rows))
        return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), structs).cast(EVIDENCE)


def event_pairs(histories: Sequences, users: Ints, items: Codes) -> tuple[Ints, Codes]:
    """(pairs,) rows and events that may be evidence: each of the user's newest different items but the row's own."""
    recent = histories.tail(RECENT_EVENTS)
    lengths = recent.lengths[users]
    rows = np.repeat(np.arange(len(users)), lengths)
    starts = np.repeat(recent.offsets[:-1][users] - offsets_of(lengths)[:-1], lengths)
    events = recent.codes[starts + np.arange(len(rows))]
    keys = distinct(rows * np.int64(recent.n_items) + events)
    rows, events = keys // recent.n_items, (keys % recent.n_items).astype(np.int32)
    others = events != items[rows]
    return rows[others], events[others]


def event_evidence(rows: Ints, events: Codes, support: Mapping[int, Floats], carried: Floats) -> Evidence:
    """At most `LOOKED_AT` events of each row with the strongest support; what they say is not counted yet.

    `support` has (pairs,) values in [0, 1] for each kind; `carried` (rows, 3) says what each kind is worth to the row:
    0 for one that has no part in the row's score.
    """
    if not support or len(rows) == 0:
        return Evidence.of(rows[:0], -1, np.zeros(0, dtype=np.float32))
    kinds = np.array(list(support), dtype=np.int8)
    values = np.stack([support[int(kind)] for kind in kinds])
    values = np.where(values >= LEAST[kinds][:, None], values, 0)
    worth = values * carried[rows][:, kinds].T
    best = worth.argmax(axis=0)
    pairs = np.arange(len(rows))
    worth, weights = worth[best, pairs], values[best, pairs]
    order = np.lexsort((events, -worth, rows))
    order = order[worth[order] > 0]
    order = order[_rank_within(rows[order]) < LOOKED_AT]
    return Evidence.of(rows[order], kinds[best[order]], weights[order], items=events[order])


def shared_interests(interests: sp.csr_matrix, item_tags: sp.csr_matrix, users: Ints, items: Codes) -> Evidence:
    """At most `MOST_TAGS` tags of each row's item that are among the user's interests, the weightiest first.

    `interests` is (users, tags) with the weights of the profile, `item_tags` (items, tags) with ones.
    """
    rows, tags, weights = _largest(interests[users].multiply(item_tags[items]), MOST_TAGS)
    return Evidence.of(rows, INTEREST, weights, tags=tags)


def kind_numbers(names: Iterable[str]) -> Ints:
    """The number of each kind in `KINDS`, -1 for none of them."""
    return np.array([KINDS.index(name) if name in KINDS else -1 for name in names], dtype=np.int64)


def worths(shares: Floats, strategies: Sequence[str], kinds_of: Mapping[str, str]) -> Floats:
    """(rows, 3) what a kind of evidence on events is worth: the share of the score of the retrievers of that kind.

    `shares` is (rows, retrievers) of `kinds_of`, retriever -> kind of evidence; of the kind that fits the row's
    strategy the worth is `PREFERENCE` times the largest.
    """
    kinds = kind_numbers(kinds_of.values())
    of_kind = kinds[:, None] == np.arange(SIMILAR + 1)
    worth = np.maximum(shares, 0) @ of_kind.astype(np.float32)
    largest = np.maximum(worth.max(axis=1, keepdims=True), 1e-12)
    own = kind_numbers(kinds_of.get(name, "") for name in strategies)
    fits = own[:, None] == np.arange(SIMILAR + 1)
    return np.asarray(np.where(fits, PREFERENCE, worth / largest), dtype=np.float32)


def verified(evidence: Evidence, users: Ints, items: Codes, people: People, alike: sp.csr_matrix) -> Evidence:
    """What is true of the evidence on events, where something is; `users` (rows,) are rows of all users.

    That people went on to the item needs others who chose it strictly later; where they chose both and no order is
    known, the two go together. Items are alike where they share a tag: `alike` is (items, tags), the more the rarer. Of
    an item that nobody has chosen, its content alone speaks: what it is most like may be named without a tag.
    """
    of_events = np.flatnonzero(evidence.items >= 0)
    rows, events = evidence.rows[of_events], evidence.items[of_events].astype(np.int64)
    both, later = people.of_both(events, items[rows].astype(np.int64), users[rows])
    kinds, often = evidence.kinds.copy(), np.zeros(len(evidence), dtype=bool)
    kind = kinds[of_events]
    kind = np.where((kind == FOLLOWED) & (later < people.fewest), TOGETHER, kind)
    counted = np.where(kind == FOLLOWED, later, both)
    tag = rarest_shared(alike, events, items[rows])
    kinds[of_events] = kind
    often[of_events] = (kind != SIMILAR) & people.often(counted, events)
    true = np.ones(len(evidence), dtype=bool)
    alone = people.counts[items[rows]] == 0
    true[of_events] = np.where(kind == SIMILAR, (tag >= 0) | alone, counted >= people.fewest)
    true[of_events] &= enough(people.counts[events], people.least)
    tags = evidence.tags.copy()
    tags[of_events] = np.where(kind == SIMILAR, tag, -1)
    return replace(evidence, kinds=kinds, tags=tags, often=often).keep(true)


def rarest_shared(alike: sp.csr_matrix, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Ints:
    """(n,) the tag that both items have and that weighs most in `alike` (items, tags); -1 where they share none."""
    out = np.full(len(one), -1, dtype=np.int64)
    rows, tags, _ = _largest(alike[one].minimum(alike[other]), 1)
    out[rows] = tags
    return out


def _largest(matrix: sp.csr_matrix, n: int) -> tuple[Ints, Ints, Floats]:
    """Rows, columns and values of the n largest entries of each row, largest first; equal ones by column."""
    entries = matrix.tocoo()
    order = np.lexsort((entries.col, -entries.data, entries.row))
    rows = entries.row[order].astype(np.int64)
    kept = _rank_within(rows) < n
    order = order[kept]
    return rows[kept], entries.col[order].astype(np.int64), entries.data[order]


def popularity(carriers: Ints, strategies: Sequence[str], segments: Ints, shares: Floats) -> Evidence:
    """The segment, or everyone, for rows of the backfill (`carriers` below 0) or that popularity carries.

    `segments` (rows,) is the tag code of the user's segment, `shares` (rows,) of its people chose the item.
    """
    carried = np.array([name == POPULARITY for name in strategies], dtype=bool)
    rows = np.flatnonzero((carriers < 0) | carried)
    own = carriers[rows] == OF_SEGMENT
    return Evidence.of(rows, np.where(own, SEGMENT, EVERYONE), shares[rows], tags=np.where(own, segments[rows], -1))


def together(*parts: Evidence) -> Evidence:
    """All pieces, row by row, those of earlier parts first; of each row at most `MOST_EVIDENCE`."""
    part = np.repeat(np.arange(len(parts)), [len(each) for each in parts])
    joined = Evidence(**{f.name: np.concatenate([getattr(each, f.name) for each in parts]) for f in fields(Evidence)})
    order = np.lexsort((np.arange(len(part)), part, joined.rows))
    return joined.keep(order[_rank_within(joined.rows[order]) < MOST_EVIDENCE])


def interest_matrix(profiles: pa.ChunkedArray[Any], tags: pa.Array[Any]) -> sp.csr_matrix:
    """(users, tags) weights of the column `interests` of profiles; a tag that no item has is left out."""
    lists = profiles.combine_chunks()
    flat = pc.list_flatten(lists)
    codes = pc.index_in(flat.field("tag"), value_set=tags)
    known = np.asarray(codes.is_valid())
    users = np.asarray(pc.list_parent_indices(lists))[known]
    weights = np.asarray(flat.field("weight"), dtype=np.float32)[known]
    columns = np.asarray(codes.drop_null(), dtype=np.int64)
    return sp.csr_matrix((weights, (users, columns)), shape=(len(lists), len(tags)))


def _rank_within(rows: Ints) -> Ints:
    """(n,) how many of the same row stand before; `rows` ascend."""
    return within_groups(np.unique(rows, return_counts=True)[1])

"""Why an item is in a list: the events and interests of the user that speak for it, and one sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core.columns import EVIDENCE
from llmrec_cli.tables.lists import OF_SEGMENT
from llmrec_cli.tables.sequences import Sequences

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SEGMENT_POPULARITY, POPULARITY = "segment-popularity", "popularity"
"""Strategies of rows that no ranker chose: for users without events, and where candidates ran short."""

KINDS = ("followed", "together", "similar", "interest", "segment", "everyone")
FOLLOWED, TOGETHER, SIMILAR, INTEREST, SEGMENT, EVERYONE = range(len(KINDS))
SUPPORTERS = {"transitions": FOLLOWED, "itemknn": TOGETHER, "content": SIMILAR}
"""Which source can say what: that people go on from one item to another, choose both, that their texts are alike."""
KIND_OF_STRATEGY = {
    "transitions": FOLLOWED,
    "content-transitions": FOLLOWED,
    "sequence": FOLLOWED,
    "itemknn": TOGETHER,
    "userknn": TOGETHER,
    "bpr": TOGETHER,
    "lda": TOGETHER,
    "als": TOGETHER,
    "ease": TOGETHER,
    "content": SIMILAR,
    "words": SIMILAR,
}
LEAST = np.array([0.02, 0.02, 0.3], dtype=np.float32)
"""Support below this says nothing: for followed and together as a share of the strongest, for similar a cosine."""
PREFERENCE = 2.0
"""The kind of evidence that fits the strategy counts so many times when the leading evidence is chosen."""
RECENT_EVENTS, MOST_EVIDENCE, MOST_TAGS = 20, 3, 2
FEWEST_OFTEN, SHARE_OFTEN = 5, 0.1
"""People who chose both items, at least, and their share of those who chose the first, for the word "often"."""
LONGEST_TITLE = 80


@dataclass(frozen=True)
class Evidence:
    """What speaks for the rows of a block, by row and then the strongest first. All arrays are (pieces,)."""

    rows: Ints
    kinds: npt.NDArray[np.int8]
    items: Codes
    """The event that speaks, -1 for none."""
    tags: Ints
    """The interest or segment that speaks, -1 for none."""
    weights: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, n_rows: int) -> Ints:
        """(rows,) the piece that leads each row, -1 where nothing speaks for it."""
        leading = np.full(n_rows, -1, dtype=np.int64)
        leading[self.rows[::-1]] = np.arange(len(self))[::-1]
        return leading

    def column(self, n_rows: int, item_ids: pa.Array[Any], tags: pa.Array[Any]) -> pa.Array[Any]:
        """The column `evidence` of recommendations."""
        items = item_ids.take(pa.array(self.items, mask=self.items < 0))
        names = tags.take(pa.array(self.tags, mask=self.tags < 0))
        kinds = pa.array(KINDS).take(pa.array(self.kinds))
        fields = [kinds, items, names, pa.array(self.weights.astype(np.float32))]
        structs = pa.StructArray.from_arrays(fields, names=["kind", "item_id", "tag", "weight"])
        offsets = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=n_rows))])
        return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), structs).cast(EVIDENCE)


def event_pairs(histories: Sequences, users: Ints, items: Codes) -> tuple[Ints, Codes]:
    """(pairs,) rows and events to ask about: each of the user's newest different items but the row's own."""
    recent = histories.tail(RECENT_EVENTS)
    lengths = recent.lengths[users]
    rows = np.repeat(np.arange(len(users)), lengths)
    starts = np.repeat(recent.offsets[:-1][users] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    events = recent.codes[starts + np.arange(len(rows))]
    keys = np.unique(rows * np.int64(recent.n_items) + events)
    rows, events = keys // recent.n_items, (keys % recent.n_items).astype(np.int32)
    others = events != items[rows]
    return rows[others], events[others]


def speaking_events(rows: Ints, events: Codes, support: Mapping[int, Floats], preferred: Ints) -> Evidence:
    """At most `MOST_EVIDENCE` events of each row with the strongest support.

    `support` has (pairs,) values in [0, 1] for each kind; `preferred` (rows,) is the kind that fits the row's strategy.
    """
    if not support or len(rows) == 0:
        return _no_evidence()
    kinds = np.array(list(support), dtype=np.int8)
    values = np.stack([support[int(kind)] for kind in kinds])
    values = np.where(values >= LEAST[kinds][:, None], values, 0)
    worth = values * np.where(kinds[:, None] == preferred[rows][None], PREFERENCE, 1.0)
    best = worth.argmax(axis=0)
    pairs = np.arange(len(rows))
    worth, weights = worth[best, pairs], values[best, pairs]
    order = np.lexsort((events, -worth, rows))
    order = order[worth[order] > 0]
    order = order[_place_within(rows[order]) < MOST_EVIDENCE]
    none = np.full(len(order), -1, dtype=np.int64)
    return Evidence(rows[order], kinds[best[order]], events[order], none, weights[order])


def shared_interests(interests: sp.csr_matrix, item_tags: sp.csr_matrix, users: Ints, items: Codes) -> Evidence:
    """At most `MOST_TAGS` tags of each row's item that are among the user's interests, the weightiest first.

    `interests` is (users, tags) with the weights of the profile, `item_tags` (items, tags) with ones.
    """
    if interests.shape[1] == 0:
        return _no_evidence()
    shared = interests[users].multiply(item_tags[items]).tocoo()
    order = np.lexsort((shared.col, -shared.data, shared.row))
    rows = shared.row[order].astype(np.int64)
    kept = _place_within(rows) < MOST_TAGS
    order, rows = order[kept], rows[kept]
    return Evidence(
        rows,
        np.full(len(rows), INTEREST, dtype=np.int8),
        np.full(len(rows), -1, dtype=np.int32),
        shared.col[order].astype(np.int64),
        shared.data[order].astype(np.float32),
    )


def popularity(sources: Ints, segments: Ints, shares: Floats) -> Evidence:
    """The segment, or everyone, for rows that a list was filled with (`sources` below 0, as in `lists.Lists`).

    `segments` (rows,) is the tag code of the user's segment, `shares` (rows,) of its people chose the item.
    """
    rows = np.flatnonzero(sources < 0)
    own = sources[rows] == OF_SEGMENT
    return Evidence(
        rows,
        np.where(own, SEGMENT, EVERYONE).astype(np.int8),
        np.full(len(rows), -1, dtype=np.int32),
        np.where(own, segments[rows], -1),
        shares[rows],
    )


def together(*parts: Evidence) -> Evidence:
    """All pieces, row by row, those of earlier parts first; of each row at most `MOST_EVIDENCE`."""
    part = np.repeat(np.arange(len(parts)), [len(each) for each in parts])
    rows = np.concatenate([each.rows for each in parts])
    order = np.lexsort((np.arange(len(rows)), part, rows))
    order = order[_place_within(rows[order]) < MOST_EVIDENCE]
    return Evidence(
        rows[order],
        np.concatenate([each.kinds for each in parts])[order],
        np.concatenate([each.items for each in parts])[order],
        np.concatenate([each.tags for each in parts])[order],
        np.concatenate([each.weights for each in parts])[order],
    )


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


def often(choosers: sp.csr_matrix, events: Codes, items: Codes) -> Mask:
    """(n,) whether enough of those who chose `events[i]` chose `items[i]` too; `choosers` is (items, users), ones."""
    both = np.zeros(len(events), dtype=np.int64)
    for start in range(0, len(events), 4096):
        stop = start + 4096
        common = choosers[events[start:stop]].multiply(choosers[items[start:stop]])
        both[start:stop] = np.asarray(common.sum(axis=1)).reshape(-1)
    enough = np.maximum(FEWEST_OFTEN, SHARE_OFTEN * np.diff(choosers.indptr)[events])
    usual: Mask = both >= enough
    return usual


@dataclass(frozen=True)
class Wording:
    """Turns evidence into sentences."""

    titles: Sequence[str]
    """(items,) what to call an item."""
    tags: Sequence[str]
    """What the tag codes of the evidence mean."""

    def sentences(self, evidence: Evidence, strategies: Sequence[str], frequent: Mask) -> list[str]:
        """One for each row. `frequent` (rows,) says whether the leading event may be told with the word "often"."""
        first = evidence.first(len(strategies))
        second = np.append(evidence.rows[1:] == evidence.rows[:-1], False)
        return [
            self._of(evidence, piece, bool(second[piece]), bool(usual))
            if piece >= 0
            else _FALLBACK.get(strategy, _PLAIN)
            for piece, strategy, usual in zip(first.tolist(), strategies, frequent.tolist(), strict=True)
        ]

    def _of(self, evidence: Evidence, piece: int, more: bool, usual: bool) -> str:
        kind = int(evidence.kinds[piece])
        if kind == INTEREST:
            tags = [self.tags[evidence.tags[piece]]]
            if more and evidence.kinds[piece + 1] == INTEREST:
                tags.append(self.tags[evidence.tags[piece + 1]])
            return f"Fits your interest in {' and '.join(tags)}."
        if kind == SEGMENT:
            return f"Popular with people {self.tags[evidence.tags[piece]]}."
        if kind == EVERYONE:
            return _POPULAR
        return _SENTENCES[kind, usual].format(quoted(self.titles[evidence.items[piece]]))


_SENTENCES = {
    (FOLLOWED, True): "Because you chose {}: people who did often go on to this.",
    (FOLLOWED, False): "Because you chose {}, which has led others to this.",
    (TOGETHER, True): "People who chose {}, as you did, often choose this too.",
    (TOGETHER, False): "Goes together with {}, which you chose.",
    (SIMILAR, True): "Similar to {}, which you chose.",
    (SIMILAR, False): "Similar to {}, which you chose.",
}
_POPULAR = "One of the items that people choose most."
_PLAIN = "Suits the pattern of your choices as a whole."
_FALLBACK = {
    "sequence": "Follows from the order of your latest choices.",
    "als": "Chosen by people whose choices are like yours.",
    "userknn": "Chosen by people whose choices are like yours.",
    "bpr": "Chosen by people whose choices are like yours.",
    "ease": "Chosen by people whose choices are like yours.",
    POPULARITY: _POPULAR,
    SEGMENT_POPULARITY: _POPULAR,
}


def quoted(title: str) -> str:
    """The title in quotation marks, cut at a word to `LONGEST_TITLE` characters."""
    line = " ".join(title.replace("“", "'").replace("”", "'").split())
    if len(line) > LONGEST_TITLE:
        line = line[: LONGEST_TITLE - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
    return f"“{line}”"


def _place_within(rows: Ints) -> Ints:
    """(n,) how many of the same row stand before; `rows` ascend."""
    starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])) if len(rows) else np.zeros(0, dtype=np.int64)
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))


def _no_evidence() -> Evidence:
    none = np.zeros(0, dtype=np.int64)
    return Evidence(none, none.astype(np.int8), none.astype(np.int32), none, none.astype(np.float32))

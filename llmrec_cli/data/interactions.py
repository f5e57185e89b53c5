"""Users' histories as one flat array of item codes with offsets: the shape in which every model reads behaviour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, distinct, offsets_of, within_groups
from llmrec_cli.core.artifacts import SEQUENCES
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError, UpstreamError
from llmrec_cli.data.demographics import one_hot, segment_numbers


@dataclass(frozen=True)
class Sequences:
    """Histories of `len(self)` users, oldest event first. Codes are row numbers of the items table."""

    codes: Codes
    """(events,) item codes of all users, one after the other."""
    offsets: Ints
    """(users + 1,) where each user's events begin."""
    n_items: int
    times: Ints | None = None
    """(events,) seconds since 1970, where they are known of every event."""
    segments: Ints | None = None
    """(users,) the demographic segment of each user, where there are segments."""
    weights: Floats | None = None
    """(events,) how much each event counts, above 0; None where all count 1."""
    negative: sp.csr_matrix | None = None
    """(users, items) 1 + events of the user before negative feedback on the item; None where there is none at all."""
    traits: sp.csr_matrix | None = None
    """(users, values) `one_hot` of the users' demographics, where any are known."""
    forbidden: sp.csr_matrix | None = None
    """(users, items) entries at what rules of lists keep from a user."""
    wanted: sp.csr_matrix | None = None
    """(users, items) entries at what is a candidate of a user whatever the retrievers bring."""
    shared: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What models count of these very histories and share, by its settings; histories made from them begin without."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> Codes:
        return self.codes[self.offsets[user] : self.offsets[user + 1]]

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def users(self) -> Ints:
        """(events,) the user of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def ages(self) -> Ints:
        """(events,) how many events of the same user came later: 0 for the last one."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.codes))

    def counts(self) -> Ints:
        """(items,) how often each item occurs."""
        return np.bincount(self.codes, minlength=self.n_items)

    def people(self) -> Ints:
        """(items,) how many distinct users each item occurs with."""
        pairs = distinct(self.codes * np.int64(max(len(self), 1)) + self.users)
        return np.bincount(pairs // max(len(self), 1), minlength=self.n_items)

    def select(self, users: npt.ArrayLike) -> Sequences:
        """The histories of some users (row numbers or a mask), in that order."""
        chosen = np.asarray(users)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        lengths = self.lengths[chosen]
        offsets = offsets_of(lengths)
        at = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        of_users = self.segments, self.negative, self.traits, self.forbidden, self.wanted
        times, weights = (None if rows is None else rows[at] for rows in (self.times, self.weights))
        segments, *others = (None if rows is None else rows[chosen] for rows in of_users)
        return Sequences(self.codes[at], offsets, self.n_items, times, segments, weights, *others)

    def forbid(self, users: Ints, items: npt.NDArray[np.integer]) -> Sequences:
        """The same where rules also keep `items[i]` from the user of row `users[i]`."""
        cells = np.ones(len(users), dtype=bool), (users, items)
        more = sp.csr_matrix(cells, shape=(len(self), self.n_items))
        return replace(self, forbidden=more if self.forbidden is None else self.forbidden + more)

    def _keep(self, mask: Bools) -> Sequences:
        lengths = np.bincount(self.users[mask], minlength=len(self))
        times = None if self.times is None else self.times[mask]
        weights = None if self.weights is None else self.weights[mask]
        offsets = offsets_of(lengths)
        return replace(self, codes=self.codes[mask], offsets=offsets, times=times, weights=weights)

    def _then(self) -> Sequences:
        """The same with the negative feedback up to the end of each history."""
        if self.negative is None:
            return self
        users = np.repeat(np.arange(len(self)), np.diff(self.negative.indptr))
        data = np.where(self.negative.data <= 1 + self.lengths[users], self.negative.data, 0)
        negative = sp.csr_matrix((data, self.negative.indices, self.negative.indptr), shape=self.negative.shape)
        negative.eliminate_zeros()
        return replace(self, negative=negative)

    def head(self, n: int) -> Sequences:
        """At most the first n events of each user."""
        return self._keep(within_groups(self.lengths) < n)._then()

    def tail(self, n: int) -> Sequences:
        """At most the last n events of each user."""
        return self._keep(self.ages < n)

    def without_last(self, n: int = 1) -> Sequences:
        """All but the last n events of each user; users with fewer keep none."""
        return self._keep(self.ages >= n)._then()

    def without(self, users: Ints, items: Codes) -> Sequences:
        """The histories without all events of `items[i]` of the user of row `users[i]`."""
        n_items = np.int64(self.n_items)
        gone = np.isin(self.users * n_items + self.codes, users * n_items + items)
        kept = self._keep(~gone)
        if self.negative is None:
            return kept
        before, negative = offsets_of(gone), self.negative.copy()
        first = np.repeat(self.offsets[:-1], np.diff(negative.indptr))
        negative.data = negative.data - (before[first + negative.data - 1] - before[first])
        return replace(kept, negative=negative)

    def last(self) -> Codes:
        """(users,) the newest item of each user, -1 for a user without events."""
        out = np.full(len(self), -1, dtype=np.int32)
        some = self.lengths > 0
        out[some] = self.codes[self.offsets[1:][some] - 1]
        return out

    def negative_items(self) -> Sequences:
        """The items with negative feedback of each user that the user has not chosen since, in order of time.

        It needs whole histories, as `tail` does not leave them.
        """
        if self.negative is None:
            return Sequences(np.zeros(0, dtype=np.int32), np.zeros(len(self) + 1, dtype=np.int64), self.n_items)
        users = np.repeat(np.arange(len(self)), np.diff(self.negative.indptr))
        codes, since = self.negative.indices.astype(np.int64), self.negative.data.astype(np.int64) - 1
        n_items = max(self.n_items, 1)
        chosen, inverse = np.unique(self.users * n_items + self.codes, return_inverse=True)
        last = np.full(len(chosen) + 1, -1, dtype=np.int64)
        np.maximum.at(last, inverse, np.arange(len(self.codes)) - self.offsets[self.users])
        pairs = users * n_items + codes
        at = np.searchsorted(chosen, pairs)
        at = np.where(np.append(chosen, -1)[at] == pairs, at, len(chosen))
        still = np.flatnonzero(last[at] < since)
        order = still[np.lexsort((since[still], users[still]))]
        offsets = offsets_of(np.bincount(users[order], minlength=len(self)))
        return Sequences(codes[order].astype(np.int32), offsets, self.n_items)

    def excluded(self, *, seen: bool) -> tuple[Ints, Codes]:
        """Users (row numbers) and items (codes) apart in lists: forbidden, turned down; with `seen` what was had."""
        negative = self.negative_items()
        parts: list[tuple[Ints, npt.NDArray[Any]]] = [(negative.users, negative.codes)]
        parts += [(self.users, self.codes)] if seen else []
        parts += [] if self.forbidden is None else [self.forbidden.nonzero()]
        users, codes = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
        return users.astype(np.int64), codes.astype(np.int32)

    def matrix(self, decay: float = 1.0, limit: int | None = None) -> sp.csr_matrix:
        """(users, items) sparse float32: sum of weight × decay**age over a user's (last `limit`) events of an item."""
        weights = np.power(np.float32(decay), self.ages.astype(np.float32))
        if self.weights is not None:
            weights = weights * self.weights
        if limit is not None:
            weights = np.where(self.ages < limit, weights, np.float32(0))
        matrix = sp.csr_matrix(
            (weights.astype(np.float32), self.codes.astype(np.int32), self.offsets), shape=(len(self), self.n_items)
        )
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return matrix

    def successors(self, weights: Iterable[float]) -> sp.csr_matrix:
        """(items, items) sparse float32: how often j came d events after i, times weights[d - 1], summed over d."""
        users, codes = self.users, self.codes
        rows, columns, values = [], [], []
        for distance, weight in enumerate(weights, start=1):
            together = users[distance:] == users[:-distance]
            rows.append(codes[:-distance][together])
            columns.append(codes[distance:][together])
            values.append(np.full(len(rows[-1]), weight, dtype=np.float32))
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sp.coo_matrix(entries, shape=(self.n_items, self.n_items)).tocsr()


def from_table(
    sequences: pa.Table,
    items: pa.Table,
    user_ids: pa.ChunkedArray | None = None,
    profiles: pa.Table | None = None,
    negative_feedback: pa.Table | None = None,
) -> Sequences:
    """`clean/sequences` as arrays, with times where that column is given and complete; `items` is `clean/items`.

    With `user_ids` (of `clean/users`, say) there is one history for each of them, empty for users without events; with
    `profiles` (user_id, segment and `DEMOGRAPHICS` of `profile/profiles`) each has its segment and traits; with
    `negative_feedback` (of `clean`) negative feedback. Weights are read where they are given and not all 1.
    Raises UpstreamError where a sequence has a code of another catalogue.
    """
    codes, lengths, seconds = _flat(sequences, items.num_rows)
    offsets = offsets_of(lengths).astype(np.int64)
    found = Sequences(codes, offsets, items.num_rows, seconds, weights=_weights(sequences))
    if user_ids is not None:
        rows = pc.index_in(user_ids, value_set=sequences.column(USER).combine_chunks())
        rows_or_last = np.asarray(pc.fill_null(rows, len(found)), dtype=np.int64)
        padded = replace(found, offsets=np.append(found.offsets, found.offsets[-1]))
        found = padded.select(rows_or_last)
    if profiles is None and negative_feedback is None:
        return found  # the table may have no users then
    of = sequences.column(USER) if user_ids is None else user_ids
    segments = None if profiles is None else segment_numbers(of, profiles)
    negative = (
        _negative(of, items, negative_feedback)
        if negative_feedback is not None and negative_feedback.num_rows
        else None
    )
    traits = None if profiles is None else one_hot(of, profiles)
    return replace(found, segments=segments, negative=negative, traits=traits)


def _weights(sequences: pa.Table) -> Floats | None:
    """(events,) the weight of each event where the column is given and one differs from 1."""
    if "weights" not in sequences.column_names:
        return None
    weights = np.asarray(sequences.column("weights").combine_chunks().flatten(), dtype=np.float32)
    return None if (weights == 1).all() else weights


def _negative(user_ids: pa.ChunkedArray, items: pa.Table, negative_feedback: pa.Table) -> sp.csr_matrix:
    """`Sequences.negative` of these users; what is said of other users and items is left out."""
    ids = (user_ids.combine_chunks(), items.column(ITEM).combine_chunks())
    found = [pc.index_in(negative_feedback.column(n), value_set=v) for n, v in zip((USER, ITEM), ids, strict=True)]
    rows, codes = (np.asarray(pc.fill_null(each, -1)) for each in found)
    known = (rows >= 0) & (codes >= 0)
    since = 1 + negative_feedback.column("position").to_numpy()
    return sp.csr_matrix((since[known], (rows[known], codes[known])), shape=(len(user_ids), items.num_rows))


def from_batches(batches: Iterable[pa.RecordBatch], items: pa.Table, codes: IO[bytes], times: IO[bytes]) -> Sequences:
    """`from_table` for a log that may be larger than memory: what it has of events lies in the two open files."""
    lengths, timed = [np.zeros(1, dtype=np.int64)], True
    for batch in batches:
        part, n, seconds = _flat(pa.Table.from_batches([batch]), items.num_rows)
        codes.write(part.tobytes())
        lengths.append(n)
        timed = timed and seconds is not None
        if seconds is not None:
            times.write(seconds.tobytes())
    offsets = np.cumsum(np.concatenate(lengths))
    return Sequences(
        _mapped(codes, np.int32), offsets, items.num_rows, _mapped(times, np.int64) if timed and offsets[-1] else None
    )


def _mapped(file: IO[bytes], kind: type) -> Any:
    file.flush()
    return np.memmap(file, dtype=kind, mode="r") if file.tell() else np.zeros(0, dtype=kind)


def _flat(table: pa.Table, n_items: int) -> tuple[Codes, Ints, Ints | None]:
    """(item codes of all events, events of each user, seconds of all events where all are known)."""
    lists = table.column("item_codes").combine_chunks()
    codes = np.asarray(lists.flatten(), dtype=np.int32)
    if codes.max(initial=-1) >= n_items:
        raise UpstreamError("a sequence has an item that is not in clean/items", fix="llmrec clean --force")
    lengths = np.asarray(pc.list_value_length(lists)).astype(np.int64)
    seconds = None
    if "times" in table.column_names:
        flat = table.column("times").combine_chunks().flatten()
        if not flat.null_count:
            seconds = np.asarray(flat.cast(pa.int64()), dtype=np.int64) // 1_000_000
    return codes, lengths, seconds


def some_with_two(sequences: Sequences, limit: int, seed: int) -> Ints:
    """Row numbers of at most `limit` users with two events or more, drawn at random, in order; DataError for none."""
    users = np.flatnonzero(sequences.lengths >= 2)
    if len(users) == 0:
        raise DataError(
            "no user has two events: there is nothing that a ranker could learn from",
            where=SEQUENCES.path,
            fix="clean more data, or lower clean.min_item_events and clean.min_user_events",
        )
    rng = np.random.default_rng([seed, len(users)])
    return np.sort(rng.choice(users, min(limit, len(users)), replace=False))

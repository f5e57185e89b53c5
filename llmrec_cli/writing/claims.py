"""What has to hold before a sentence may say it: how far a share lies above everybody's, in which order, of how many.

`docs/truth.md` has the sentences and their conditions in a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Ints
from llmrec_cli.data.interactions import Sequences

ONE_SIDED = 1.6449
"""Standard deviations of a normal distribution that 95 % lie below."""
LEAST_EVENTS = 3
"""Events that an interest needs at least."""
TOO_COMMON = 0.8
"""A tag that more than this share of everybody's events has tells nobody apart."""
FEWEST, FEWEST_OFTEN, SHARE_OFTEN = 2, 5, 0.1
"""People that a sentence on others needs; those that "often" needs, and their share of those who chose the first."""
FOREMOST = 0.1
"""Share of the chosen items that are among those chosen most."""
PAIRS = 1024
"""Pairs of items that are counted at a time."""


def lower_bound(counts: npt.ArrayLike, events: npt.ArrayLike) -> Doubles:
    """The lower end of a one-sided 95 % interval of counts / events (Wilson 1927); 0 where there are no events."""
    n = np.maximum(np.asarray(events, dtype=np.float64), 1e-12)
    share, z = np.asarray(counts, dtype=np.float64) / n, ONE_SIDED
    middle = share + z**2 / (2 * n)
    spread = z * np.sqrt(np.maximum(share * (1 - share), 0) / n + z**2 / (4 * n**2))
    return np.asarray(np.maximum((middle - spread) / (1 + z**2 / n), 0))


def above(counts: npt.ArrayLike, events: npt.ArrayLike, usual: npt.ArrayLike) -> Bools:
    """Whether counts / events lies above the `usual` share beyond chance, on events enough to say so."""
    usual = np.asarray(usual, dtype=np.float64)
    enough = (np.asarray(counts) >= LEAST_EVENTS) & (usual <= TOO_COMMON)
    return np.asarray(enough & (lower_bound(counts, events) > usual))


def usual_shares(counts: Ints, events: Ints, all_counts: Ints, all_events: int) -> Doubles:
    """(n,) share of the others' events that have a tag: everybody's without the `counts` of `events` of one's own."""
    return np.asarray((all_counts - counts) / np.maximum(all_events - events, 1), dtype=np.float64)


def leanings(histories: sp.csr_matrix, tags: sp.csr_matrix) -> sp.csr_matrix:
    """(users, tags) ones where a user's share of events with a tag lies above that of all others.

    `histories` is (users, items) with whole counts of events, `tags` (items, tags) with ones.
    """
    counts = (histories @ tags).tocsr()
    events = np.asarray(histories.sum(axis=1)).reshape(-1)
    users = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    everybody = np.asarray(counts.sum(axis=0)).reshape(-1)
    usual = usual_shares(counts.data, events[users], everybody[counts.indices], int(events.sum()))
    kept = above(counts.data, events[users], usual)
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    return sp.csr_matrix((ones, (users[kept], counts.indices[kept])), shape=counts.shape)


@dataclass(frozen=True)
class People:
    """Who chose which item, and when first."""

    chose: sp.csr_matrix
    """(items, users) ones."""
    first: sp.csr_matrix | None
    """(items, users) seconds of the first choice, from 1 on; None for a log without times."""
    least: int = 0
    """People that an item needs to be named (`clean.min_support`)."""

    @classmethod
    def of(cls, histories: Sequences, least: int = 0) -> People:
        n_users = len(histories)
        keys = histories.codes.astype(np.int64) * n_users + histories.users
        pairs, at = np.unique(keys, return_index=True)  # the first of each: histories are in order of time
        places = (pairs // max(n_users, 1), pairs % max(n_users, 1))
        shape = (histories.n_items, n_users)
        chose = sp.csr_matrix((np.ones(len(pairs), dtype=np.float32), places), shape=shape)
        if histories.times is None or not len(pairs):
            return cls(chose, None, least)
        seconds = histories.times[at].astype(np.float64)
        return cls(chose, sp.csr_matrix((seconds - seconds.min() + 1, places), shape=shape), least)

    @property
    def timed(self) -> bool:
        return self.first is not None

    @property
    def fewest(self) -> int:
        """People that a sentence on others needs."""
        return max(FEWEST, self.least)

    @property
    def counts(self) -> Ints:
        """(items,) people who chose each item."""
        return np.diff(self.chose.indptr).astype(np.int64)

    def foremost(self) -> Bools:
        """(items,) whether no more than a tenth of the chosen items are chosen by as many people."""
        counts = self.counts
        chosen = counts[counts > 0]
        as_many = len(chosen) - np.searchsorted(np.sort(chosen), counts)
        return (counts > 0) & (as_many <= np.maximum(FOREMOST * len(chosen), 1))

    def of_both(self, before: Ints, items: Ints, users: Ints) -> tuple[Ints, Ints]:
        """(n,) people other than `users` who chose both items, and those of them who chose `before` strictly earlier.

        The order is that of the first choice of each item; a same instant is none. Without times nobody is earlier.
        """
        n_items = max(self.chose.shape[0], 1)
        pairs, of = np.unique(before.astype(np.int64) * n_items + items, return_inverse=True)
        both, earlier = np.zeros((2, len(pairs)), dtype=np.int64)
        for start in range(0, len(pairs), PAIRS):
            some = pairs[start : start + PAIRS]
            both[start : start + PAIRS], earlier[start : start + PAIRS] = self._counted(some // n_items, some % n_items)
        own = np.asarray(self.chose[items, users]).reshape(-1).astype(np.int64) if len(items) else np.zeros(0, np.int64)
        return both[of] - own, np.maximum(earlier[of] - own, 0)

    def of_item(self, item: int, others: Codes) -> tuple[Ints, Ints]:
        """(n,) people who chose the item and each of the others, and those of them who chose the other strictly later.

        The same counts as of `of_both`, with memory for the events of the others alone.
        """
        when = self.chose if self.first is None else self.first
        own, theirs = when[[item]].toarray().ravel(), when[others]
        rows, known = np.repeat(np.arange(len(others)), np.diff(theirs.indptr)), own[theirs.indices]
        both, later = known > 0, (known > 0) & (theirs.data > known)
        return np.bincount(rows[both], minlength=len(others)), np.bincount(rows[later], minlength=len(others))

    def _counted(self, before: Ints, items: Ints) -> tuple[Ints, Ints]:
        one, other = self.chose[before], self.chose[items]
        both = np.asarray(one.multiply(other).sum(axis=1)).reshape(-1).astype(np.int64)
        if self.first is None:
            return both, np.zeros_like(both)
        later = (self.first[items].multiply(one) - self.first[before].multiply(other)).tocsr()
        rows = np.repeat(np.arange(len(before)), np.diff(later.indptr))
        return both, np.bincount(rows[later.data > 0], minlength=len(before))

    def often(self, found: Ints, before: Ints) -> Bools:
        """(n,) whether `found` people are many of those who chose `before`."""
        return np.asarray(found >= np.maximum(FEWEST_OFTEN, SHARE_OFTEN * self.counts[before]))

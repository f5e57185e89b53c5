"""Which attributes tell users without events apart, and how far a segment's counts lean on everyone's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Doubles, Floats, Ints
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.segments import EVERYONE, Segments
from llmrec_cli.ranking.topk import topk

Segmented = Callable[[tuple[str, ...], Ints], Segments]
"""The segments of some users (row numbers) by the named attributes alone."""

PRIORS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
K, POOL, FOLDS = 10, 500, 10
EVAL_USERS, CROWD = 2_000, 20_000
"""Users who are treated as if they had no events, and users whose choices are counted."""
FEWEST = 50
"""Users with events below which nothing is chosen: a difference between so few says nothing."""
DISCOUNTS = 1 / np.log2(np.arange(K) + 2)
HARM = 0.001
SURE = 3.0
"""Standard errors by which segments must be better than everyone: many sets and priors are tried."""


@dataclass(frozen=True)
class Leaning:
    """What was chosen, with what was measured: mean NDCG@10 of the list that a user without events would have had."""

    attributes: tuple[str, ...]
    """By which users are told apart; empty: as finely as there are enough people."""
    prior: float
    """People of everyone that count with those of a segment: its counts weigh n / (n + prior); inf: not at all."""
    ndcg: float = 0.0
    of_everyone: float = 0.0
    asked: int = 0

    def weights(self, found: Segments) -> Floats:
        """(segments,) how much a segment's own counts weigh against everyone's."""
        n = np.diff(found.members.indptr)
        own = np.zeros(len(n)) if np.isinf(self.prior) else n / np.maximum(n + self.prior, 1)
        own[[name == EVERYONE for name in found.names]] = 0
        return own.astype(np.float32)

    def line(self) -> str:
        """What users without events get, in words."""
        if not self.asked:
            return "users without events have what everyone chooses (no attribute tells enough users apart)"
        measured = f"NDCG@{K} {self.ndcg:.4f}, by everyone's popularity {self.of_everyone:.4f}, of {self.asked:,} users"
        if np.isinf(self.prior):
            return f"users without events have what everyone chooses: no segment is surely better ({measured})"
        by = ", ".join(self.attributes)
        smoothed = f"smoothed with {self.prior:g} of everyone"
        return f"users without events have what people of like {by} choose, {smoothed} ({measured})"


def choose(names: tuple[str, ...], histories: Sequences, segmented: Segmented, ties: Ints, seed: int) -> Leaning:
    """The attributes and the prior whose lists are best for users whose own events are left out of all counts.

    Two questions are asked of each user: the first event, which is what a new user comes to, and all of them, which say
    more. Everyone's popularity stays unless a segment's is surely better for all events and surely not worse, by
    more than HARM, for the first; of equals the first set, which is the finest, and the least prior win. Items of equal
    score stand by `ties` (items,), `tie_order` of the catalogue.
    """
    users = np.sort(np.random.default_rng([seed, 11]).permutation(np.flatnonzero(histories.lengths))[:CROWD])
    if not names or len(users) < FEWEST:
        return Leaning((), np.inf)
    asked = np.sort(np.random.default_rng([seed, 12]).permutation(len(users))[:EVAL_USERS])
    crowd = _Crowd.of(histories.select(users), asked, ties, seed)
    (plain,) = crowd.gains(None, (np.inf,))
    mean, best = plain.mean(axis=0), None
    for kept in subsets(names):
        found = segmented(kept, users)
        if len(found.names) == 1:
            continue
        best = best or Leaning((), np.inf, mean[1], mean[1], len(asked))
        for prior, gains in zip(PRIORS, crowd.gains(found, PRIORS), strict=True):
            more = gains - plain
            low = more.mean(axis=0) - SURE * more.std(axis=0) / np.sqrt(len(more))
            if low[0] > -HARM and low[1] > 0 and gains[:, 1].mean() > best.ndcg:
                best = Leaning(kept, prior, float(gains[:, 1].mean()), mean[1], len(asked))
    return best or Leaning((), np.inf)


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All attributes, all but one of them, and each alone; no set twice."""
    without = (tuple(name for name in names if name != left) for left in names)
    yield from dict.fromkeys([names, *(each for each in without if each), *((name,) for name in names)])


@dataclass(frozen=True)
class _Crowd:
    """Who chose what among the most popular items, and which of them are eval users.

    They are in folds: a user's lists are made of the counts of the other folds. So what a user chose is in none of the
    counts, and users of a fold are as independent as the intervals need them to be.
    """

    chosen: sp.csr_matrix
    """(users, pool) 1 where the user chose the item; columns by falling popularity."""
    ties: Ints
    """(pool,) the order of items of equal score."""
    first: Ints
    """(users,) column of the first event, -1 where it is outside of the pool."""
    asked: Ints
    """Rows of `chosen`."""
    ideal: Doubles
    """(asked,) the gain of a perfect list of all that the user chose."""
    fold: Ints
    """(users,) the fold that a user is in."""

    @classmethod
    def of(cls, histories: Sequences, asked: Ints, ties: Ints, seed: int) -> _Crowd:
        chosen = histories.matrix()
        chosen.data[:] = 1.0
        order = np.lexsort((ties, -np.asarray(chosen.sum(axis=0)).ravel()))[:POOL]
        column = np.full(chosen.shape[1], -1)
        column[order] = np.arange(len(order))
        wanted = np.minimum(np.diff(chosen.indptr)[asked], K)
        ideal = np.cumsum(DISCOUNTS)[np.maximum(wanted, 1) - 1]
        first = column[histories.codes[histories.offsets[:-1]]]
        fold = np.random.default_rng([seed, 13]).permutation(len(histories)) % FOLDS
        return cls(chosen[:, order].tocsr(), ties[order], first, asked, ideal, fold)

    def gains(self, found: Segments | None, priors: Sequence[float]) -> list[Doubles]:
        """For each prior (asked, 2) NDCG@10 of the first event and of all."""
        everyone = sp.csr_matrix(np.ones((1, len(self.fold)), dtype=np.float32))
        members = everyone if found is None else (found.members > 0).astype(np.float32).tocsr()
        segment = np.zeros(len(self.fold), dtype=np.int64) if found is None else found.of_user
        out = [np.zeros((len(self.asked), 2)) for _ in priors]
        for fold in range(FOLDS):
            known, at = np.flatnonzero(self.fold != fold), np.flatnonzero(self.fold[self.asked] == fold)
            rows = self.asked[at]
            own = self.chosen[rows].toarray().astype(np.float64)
            share = np.asarray(self.chosen[known].sum(axis=0), dtype=np.float64) / max(len(known), 1)
            theirs = (members[:, known] @ self.chosen[known]).toarray().astype(np.float64)
            people = np.asarray(members[:, known].sum(axis=1), dtype=np.float64)
            for gains, prior in zip(out, priors, strict=True):
                score = share if np.isinf(prior) else (theirs + prior * share) / (people + prior)
                top, _ = topk(score, min(K, score.shape[1]), ties=self.ties)
                lists = top[np.zeros(len(rows), dtype=np.int64) if np.isinf(prior) else segment[rows]]
                gains[at] = self._gained(lists, own, self.first[rows], self.ideal[at])
        return out

    @staticmethod
    def _gained(top: Codes, own: Doubles, first: Ints, ideal: Doubles) -> Doubles:
        discounts = DISCOUNTS[: top.shape[1]]
        whole = np.take_along_axis(own, top, axis=1) @ discounts / ideal
        return np.stack([(top == first[:, None]) @ discounts, whole], axis=1)

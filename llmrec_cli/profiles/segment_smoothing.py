"""Which attributes tell users without events apart, and how far a segment's counts lean on everyone's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Doubles, Floats, Ints
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.segments import EVERYONE, Segments

Segmented = Callable[[tuple[str, ...], Ints], Segments]
"""The segments of some users (row numbers) by the named attributes alone."""

PRIORS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
K, POOL, BLOCK = 10, 500, 500
ASKED, CROWD = 2_000, 20_000
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
    """People of everyone that count beside those of a segment: its counts weigh n / (n + prior); inf: not at all."""
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
        told = f"NDCG@{K} {self.ndcg:.4f}, by everyone's popularity {self.of_everyone:.4f}, of {self.asked:,} users"
        if np.isinf(self.prior):
            return f"users without events have what everyone chooses: no segment is surely better ({told})"
        by = ", ".join(self.attributes)
        return f"users without events have what people of like {by} choose, {self.prior:g} of everyone beside ({told})"


def choose(names: tuple[str, ...], histories: Sequences, segmented: Segmented, seed: int) -> Leaning:
    """The attributes and the prior whose lists are best for users whose own events are left out of all counts.

    Two questions are asked of each user: the first event, which is what a new user comes to, and all of them, which say
    more. Everyone's popularity stays unless a segment's is surely better for all events and surely not worse, by
    more than HARM, for the first; of equals the first set, which is the finest, and the least prior win.
    """
    users = np.sort(np.random.default_rng([seed, 11]).permutation(np.flatnonzero(histories.lengths))[:CROWD])
    if not names or len(users) < FEWEST:
        return Leaning((), np.inf)
    asked = np.sort(np.random.default_rng([seed, 12]).permutation(len(users))[:ASKED])
    crowd = _Crowd.of(histories.select(users), asked)
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
    """Who chose what among the most popular items, and whom the questions are asked of."""

    chosen: sp.csr_matrix
    """(users, pool) 1 where the user chose the item; columns by falling popularity."""
    first: Ints
    """(users,) column of the first event, -1 where it is outside of the pool."""
    asked: Ints
    """Rows of `chosen`."""
    ideal: Doubles
    """(asked,) the gain of a perfect list of all that the user chose."""

    @classmethod
    def of(cls, histories: Sequences, asked: Ints) -> _Crowd:
        chosen = histories.matrix()
        chosen.data[:] = 1.0
        order = np.argsort(-np.asarray(chosen.sum(axis=0)).ravel(), kind="stable")[:POOL]
        column = np.full(chosen.shape[1], -1)
        column[order] = np.arange(len(order))
        wanted = np.minimum(np.diff(chosen.indptr)[asked], K)
        ideal = np.cumsum(DISCOUNTS)[np.maximum(wanted, 1) - 1]
        return cls(chosen[:, order].tocsr(), column[histories.codes[histories.offsets[:-1]]], asked, ideal)

    def gains(self, found: Segments | None, priors: Sequence[float]) -> list[Doubles]:
        """For each prior (asked, 2) NDCG@10 of the first event and of all; nobody's own events are counted."""
        total, n = np.asarray(self.chosen.sum(axis=0)).ravel(), self.chosen.shape[0]
        if found is not None:
            counts = ((found.members > 0).astype(np.float32) @ self.chosen).tocsr()
            sizes = np.diff(found.members.indptr)
        parts: list[list[Doubles]] = [[] for _ in priors]
        for start in range(0, len(self.asked), BLOCK):
            rows = self.asked[start : start + BLOCK]
            own = self.chosen[rows].toarray().astype(np.float64)
            share = (total - own) / max(n - 1, 1)
            theirs, people = np.zeros_like(own), np.zeros((len(rows), 1))
            if found is not None:
                segment = found.of_user[rows]
                theirs, people = counts[segment].toarray() - own, np.maximum(sizes[segment] - 1, 0)[:, None]
            for part, prior in zip(parts, priors, strict=True):
                score = share if np.isinf(prior) else (theirs + prior * share) / (people + prior)
                part.append(self._gained(_top(score), own, self.first[rows], self.ideal[start : start + BLOCK]))
        return [np.concatenate(part) for part in parts]

    @staticmethod
    def _gained(top: Ints, own: Doubles, first: Ints, ideal: Doubles) -> Doubles:
        discounts = DISCOUNTS[: top.shape[1]]
        whole = np.take_along_axis(own, top, axis=1) @ discounts / ideal
        return np.stack([(top == first[:, None]) @ discounts, whole], axis=1)


def _top(score: Doubles) -> Ints:
    """(users, K) the best columns of each row; of equals the more popular one, which is further to the left."""
    cost = np.arange(score.shape[1]) * 1e-12 - score
    width = min(K, score.shape[1])
    top = np.argpartition(cost, width - 1, axis=1)[:, :width]
    return np.take_along_axis(top, np.argsort(np.take_along_axis(cost, top, axis=1), axis=1), axis=1)

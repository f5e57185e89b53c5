"""The most frequent items among users of the same demographic segment, small segments leaning on everyone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Codes, Floats, Ints
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.entries import first_free
from llmrec_cli.ranking.retrievers import BaseRetriever, Excluded, Histories, Statistics
from llmrec_cli.ranking.topk import best_of, topk


class SegmentsConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.segments]`."""

    prior: float = Field(500.0, ge=0, description="events of everyone that are added to those of the segment")


class Segments(BaseRetriever):
    """score = log(1 + n x (c[segment, item] + prior x p[item]) / (n[segment] + prior)), of n events in all.

    c and n[segment] count the events of the segment's users, p is the share of everyone's events (a Dirichlet prior).
    A user without a segment, or of one that nobody was in, has p alone.
    """

    signed, label = True, "Popular in the user's segment"
    config: SegmentsConfig
    counts: sp.csr_matrix
    """(segments, items) numbers of events."""
    overall: Floats
    """(items,) numbers of events."""

    @classmethod
    def fit(cls, config: SegmentsConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        of_user = _segments(sequences)
        shape = (int(of_user.max(initial=-1)) + 1, len(sequences))
        some = np.flatnonzero(of_user >= 0)
        members = sp.csr_matrix((np.ones(len(some), dtype=np.float32), (of_user[some], some)), shape=shape)
        events = sequences.matrix()
        return cls(config, (members @ events).tocsr(), np.asarray(events.sum(axis=0), dtype=np.float32).ravel())

    def top(self, histories: Histories, n: int, excluded: Excluded) -> tuple[Codes, Floats]:
        users, codes = excluded.by_user
        found: list[tuple[Ints, Codes, Floats]] = [(np.zeros(0, np.int64), codes[:0], self.overall[:0])]
        for members, scores in self._groups(histories):
            shown = scores if excluded.items is None else np.where(excluded.items, np.float32(-np.inf), scores)
            order = topk(shown[None], n + excluded.longest, ties=excluded.ties)[0][0]
            row = np.full(len(histories), -1)
            row[members] = np.arange(len(members))
            gone = row[users] >= 0
            rows, items = first_free(order[order >= 0], n, len(members), row[users[gone]], codes[gone])
            found.append((members[rows], items, scores[items]))
        rows, codes, values = (np.concatenate(each) for each in zip(*found, strict=True))
        return best_of(rows, codes, values, (len(histories), n), excluded.ties)

    def pairs(self, histories: Histories, users: Ints, items: Codes) -> Floats:
        out = np.zeros(len(users), dtype=np.float32)
        for members, scores in self._groups(histories):
            own = np.isin(users, members)
            out[own] = scores[items[own]]
        return out

    def statistics(self, histories: Histories) -> Statistics:
        out = np.zeros((2, len(histories)), dtype=np.float32)
        for members, scores in self._groups(histories):
            found = Statistics.of(scores[None])
            out[:, members] = found.mean, found.std
        return Statistics(*out)

    def _groups(self, histories: Histories) -> Iterator[tuple[Ints, Floats]]:
        """The users (row numbers) of each segment, and their (items,) scores."""
        of_user = _segments(histories.sequences)
        known = np.where(of_user < self.counts.shape[0], of_user, -1)
        n = max(float(self.overall.sum()), 1.0)
        for segment in np.unique(known):
            own = self.counts[[segment]].toarray()[0] if segment >= 0 else np.zeros_like(self.overall)
            share = (own + self.config.prior * self.overall / n) / max(own.sum() + self.config.prior, 1e-9)
            share = share if segment >= 0 else self.overall / n
            yield np.flatnonzero(known == segment), np.log1p(n * share).astype(np.float32)


def _segments(sequences: Sequences) -> Ints:
    """(users,) the segment of each, -1 where there are no segments."""
    return np.full(len(sequences), -1, dtype=np.int64) if sequences.segments is None else sequences.segments

"""The most frequent items among users of the same demographic segment, small segments leaning on everyone."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories


class SegmentsConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.segments]`."""

    prior: float = Field(500.0, ge=0, description="events of everyone that are added to those of the segment")


class Segments(DenseRetriever):
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

    def score(self, histories: Histories) -> Floats:
        of_user = _segments(histories.sequences)
        known = np.where(of_user < self.counts.shape[0], of_user, -1)
        distinct, row = np.unique(known, return_inverse=True)
        own = np.zeros((len(distinct), len(self.overall)), dtype=np.float32)
        own[distinct >= 0] = self.counts[distinct[distinct >= 0]].toarray()
        n = max(float(self.overall.sum()), 1.0)
        total = np.maximum(own.sum(1, keepdims=True) + self.config.prior, 1e-9)
        share = (own + self.config.prior * self.overall / n) / total
        share[distinct < 0] = self.overall / n
        return np.log1p(n * share).astype(np.float32)[row]


def _segments(sequences: Sequences) -> Ints:
    """(users,) the segment of each, -1 where there are no segments."""
    return np.full(len(sequences), -1, dtype=np.int64) if sequences.segments is None else sequences.segments

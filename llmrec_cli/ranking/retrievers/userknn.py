"""User-based collaborative filtering: what people chose whose histories are most alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats, Ints, offsets_of
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.entries import strongest
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.sparse_scores import SparseRetriever

ENTRIES = 1 << 23
"""Entries of a piece of the users x users similarity that is in memory at a time, unless one user alone has more."""
SAME = 1 - 1e-5
"""From this cosine on two histories are the same one, which knows of nothing new; a user's own is among them."""


class UserKNNConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.userknn]`."""

    neighbours: int = Field(100, ge=1, description="most alike people that an item is taken from")
    shrink: float = Field(1.0, ge=0, description="added to the norm: distrusts people of few events")
    decay: float = Field(0.9, gt=0, le=1, description="weight of an event against the one after it")
    max_history: int = Field(200, ge=1, description="newest events of a user that are looked at")
    max_people: int = Field(100_000, ge=1, description="people to compare with at most, drawn at random")


class UserKNN(SparseRetriever):
    """score = sum over the `neighbours` most alike people v of sim(h, v) x v's weight of the item.

    After Resnick et al. (1994). A person is the vector of weights decay**age over items, and
    sim(h, v) = <h, v> / (|h| |v| + shrink). The people are those of `fit`; new ones are compared with them as well. The
    similarity is made of a few users at a time, sparse.
    """

    label, evidence = "People with a similar history", "together"
    config: UserKNNConfig
    people: sp.csr_matrix
    """(training users, items) weights; the rows of those who were not drawn are empty."""

    def __post_init__(self) -> None:
        self.transposed, self.norms = self.people.T.tocsr(), norms(self.people)

    @classmethod
    def fit(cls, config: UserKNNConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        people = sequences.matrix(config.decay, config.max_history)
        if (n := people.shape[0]) > config.max_people:  # else the work of each user would grow with the number of users
            drawn = np.zeros(n, dtype=bool)
            drawn[np.random.default_rng([seed, n]).choice(n, config.max_people, replace=False)] = True
            kept, lengths = np.repeat(drawn, np.diff(people.indptr)), np.diff(people.indptr) * drawn
            people = sp.csr_matrix((people.data[kept], people.indices[kept], offsets_of(lengths)), people.shape)
        return cls(config, people)

    def entries(self, histories: Histories) -> sp.csr_matrix:
        queries = histories.sequences.matrix(self.config.decay, self.config.max_history)
        parts = [self._neighbours(queries[start:stop]) @ self.people for start, stop in self._pieces(queries)]
        return sp.vstack(parts, format="csr") if parts else queries

    def _pieces(self, queries: sp.csr_matrix) -> Iterator[tuple[int, int]]:
        """(start, stop) of users who meet at most `ENTRIES` people together, each counted once for a shared item."""
        met = np.bincount(self.people.indices, minlength=self.people.shape[1])[queries.indices]
        before = offsets_of(met)[queries.indptr]
        start = 0
        while start < queries.shape[0]:
            stop = int(np.searchsorted(before, before[start] + ENTRIES, side="right")) - 1
            yield start, max(stop, start + 1)
            start = max(stop, start + 1)

    def _neighbours(self, queries: sp.csr_matrix) -> sp.csr_matrix:
        """(users, training users) similarity of the nearest, the rest empty."""
        alike = (queries @ self.transposed).tocsr()
        product = np.repeat(norms(queries), np.diff(alike.indptr)) * self.norms[alike.indices]
        same = alike.data >= SAME * product
        alike.data = np.where(same, np.float32(0), alike.data / (product + np.float32(self.config.shrink)))
        alike.eliminate_zeros()
        return strongest(alike, self.config.neighbours)

    def without(self, users: Ints) -> Self:
        """The same without some of the training users, by row number."""
        return type(self)(self.config, self.people[np.setdiff1d(np.arange(self.people.shape[0]), users)])


def norms(matrix: sp.csr_matrix) -> Floats:
    """(rows,) Euclidean lengths."""
    return np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float32)).ravel()

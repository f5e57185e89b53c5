"""Retrievers whose scores are counts: a few items of each user have some, the others stand alike for all."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Floats, Ints, offsets_of
from llmrec_cli.ranking.entries import first_free, found_cells, maxima, rows_of, sums, values_at
from llmrec_cli.ranking.retrievers import BaseRetriever, Excluded, Histories, Statistics
from llmrec_cli.ranking.topk import best_of, nth_bound, padded


class SparseRetriever(BaseRetriever):
    """score = an entry, where the user has one of the item, + what `usual` says of the item."""

    @abstractmethod
    def entries(self, histories: Histories) -> sp.csr_matrix:
        """(users, items) sparse float32, at most one entry a cell, none below 0; columns in any order."""

    def usual(self) -> Floats | None:
        """(items,) the same for all users; None is 0."""
        return None

    def top(self, histories: Histories, n: int, excluded: Excluded) -> tuple[Codes, Floats]:
        matrix, usual = self._entries(histories), self.usual()
        scores = matrix.data if usual is None else matrix.data + usual[matrix.indices]
        if excluded.items is not None:
            scores = np.where(excluded.items[matrix.indices], np.float32(-np.inf), scores)
        # of each user so many more as the most that a user may not have: these are looked for among few
        bound = nth_bound(padded(scores, matrix.indptr), n + excluded.longest)
        rows = rows_of(matrix)
        kept = np.flatnonzero((scores >= bound[rows]) & (scores > -np.inf))
        rows, codes, scores = rows[kept], matrix.indices[kept], scores[kept]
        offsets = offsets_of(np.bincount(rows, minlength=len(histories)))
        best = sp.csr_matrix((scores, codes, offsets), shape=matrix.shape)
        free = np.ones(len(rows), dtype=bool)
        free[found_cells(best, *excluded.by_user)[0]] = False
        rows, codes, scores = rows[free], codes[free], scores[free]
        users, items = self._rest(matrix, n, excluded, bound)
        more = np.zeros(len(items), dtype=np.float32) if usual is None else usual[items]
        every = np.concatenate([rows, users]), np.concatenate([codes, items]), np.concatenate([scores, more])
        return best_of(*every, (len(histories), n), excluded.ties)

    def pairs(self, histories: Histories, users: Ints, items: Codes) -> Floats:
        found, usual = values_at(self._entries(histories), users, items), self.usual()
        return found if usual is None else found + usual[items]

    def statistics(self, histories: Histories) -> Statistics:
        matrix, usual = self._entries(histories), self.usual()
        n_items, values = max(matrix.shape[1], 1), matrix.data.astype(np.float64)
        full = np.diff(matrix.indptr) == n_items
        if usual is None:
            mean, squares = sums(values, matrix.indptr) / n_items, sums(values**2, matrix.indptr) / n_items
            variance, others = squares - mean**2, np.float32(0)
            largest = maxima(matrix.data, matrix.indptr)
        else:
            middle = usual.mean(dtype=np.float64)
            off = (usual - middle).astype(np.float64)
            added = sums(values, matrix.indptr) / n_items
            squares = sums(values * (2 * off[matrix.indices] + values), matrix.indptr)
            mean, variance = middle + added, ((off**2).sum() + squares) / n_items - added**2
            others, largest = usual.max(), maxima(matrix.data + usual[matrix.indices], matrix.indptr)
        std = np.sqrt(np.maximum(variance, 0)) + 1e-9
        top = np.maximum(np.where(full, largest, np.maximum(largest, others)), np.float32(1e-6))
        return Statistics(mean.astype(np.float32), std.astype(np.float32), top.astype(np.float32))

    def _entries(self, histories: Histories) -> sp.csr_matrix:
        return histories.once(self, self.entries)

    def _order(self, excluded: Excluded, n_items: int) -> Codes:
        """The items by what is usual; kept, for blocks of users are excluded from the same items in the same order."""
        known = self.__dict__.get("order")
        if known is None or known[0] is not excluded.ties or known[1] is not excluded.items:
            usual = self.usual()
            order = excluded.falling(np.zeros(n_items, dtype=np.float32) if usual is None else usual)
            known = self.__dict__["order"] = excluded.ties, excluded.items, order
        return known[2]

    def _rest(self, matrix: sp.csr_matrix, n: int, excluded: Excluded, bound: Floats) -> tuple[Ints, Codes]:
        """Users and items without an entry that may be among the n best: of users with few entries, or low ones."""
        usual = self.usual()
        highest = np.float32(0) if usual is None else usual.max(initial=0)
        short = np.flatnonzero(bound <= highest)
        if not len(short):
            return short, np.zeros(0, dtype=np.int32)
        order = self._order(excluded, matrix.shape[1])
        row = np.full(matrix.shape[0], -1)
        row[short] = np.arange(len(short))
        users, codes = excluded.by_user
        own, gone = matrix[short], row[users] >= 0
        rows = np.concatenate([rows_of(own), row[users[gone]]])
        found, items = first_free(order, n, len(short), rows, np.concatenate([own.indices, codes[gone]]))
        return short[found], items

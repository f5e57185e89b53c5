"""Sparse item-item strengths: sums over a history, and look-ups of single pairs as evidence."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Floats
from llmrec_cli.ranking.entries import values_at
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.sparse_scores import SparseRetriever

RUN = 8
"""From so many columns of a row on, laying the row out is faster than searching it for each."""


class Neighbourhood(SparseRetriever):
    """What retrievers share whose model is a similarity of items; each brings settings with `decay`, and `fit`.

    score = sum over the history of decay**age x similarity.
    """

    similarity: sp.csr_matrix
    """(items, items), rows of the history's items, without a diagonal."""

    def __post_init__(self) -> None:
        self.maxima = row_maxima(self.similarity)

    def entries(self, histories: Histories) -> sp.csr_matrix:
        return histories.sequences.matrix(self.config.decay) @ self.similarity

    def support(self, history: Codes, items: Codes) -> Floats:
        return pair_values(self.similarity, history, items) / self.maxima[history]


def pair_values(matrix: sp.csr_matrix, rows: Codes, columns: Codes) -> Floats:
    """(n,) `matrix[rows[i], columns[i]]`, 0 where there is no entry."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.float32)
    runs = np.append(True, rows[1:] != rows[:-1])
    if runs.sum() * RUN <= len(rows):
        return values_at(matrix[rows[runs]], np.cumsum(runs) - 1, columns)
    found = np.asarray(matrix[rows.astype(np.int64), columns.astype(np.int64)]).ravel()
    return found.astype(np.float32)


def row_maxima(matrix: sp.csr_matrix) -> Floats:
    """(rows,) the largest entry of each row, at least a tiny positive number, to divide by."""
    return np.maximum(matrix.max(axis=1).toarray().ravel(), 1e-12).astype(np.float32)

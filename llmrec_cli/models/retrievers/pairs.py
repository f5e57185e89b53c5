"""Look-ups of many single cells of a sparse matrix, for evidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


def pair_values(matrix: sp.csr_matrix, rows: Codes, columns: Codes) -> Floats:
    """(n,) `matrix[rows[i], columns[i]]`, 0 where there is no entry."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.float32)
    found = np.asarray(matrix[rows.astype(np.int64), columns.astype(np.int64)]).ravel()
    return found.astype(np.float32)


def row_maxima(matrix: sp.csr_matrix) -> Floats:
    """(rows,) the largest entry of each row, at least a tiny positive number, to divide by."""
    return np.maximum(matrix.max(axis=1).toarray().ravel(), 1e-12).astype(np.float32)

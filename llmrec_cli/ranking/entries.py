"""Sparse scores of a block of users: sums, single cells, what has no entry; the work goes with the entries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Doubles, Floats, Ints, offsets_of, within_groups
from llmrec_cli.data.ranks import falling

CELLS = 1 << 19
"""Cells of the table of rows × columns in which cells are looked up: 2 MB, more leave the processor's cache."""


def rows_of(matrix: sp.csr_matrix) -> Ints:
    """(entries,) the row of each."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def sums(values: Doubles, indptr: npt.NDArray[np.integer]) -> Doubles:
    """(rows,) the sum of the entries of each row."""
    starts = indptr[:-1].astype(np.int64)
    added = np.add.reduceat(np.append(values, 0.0), starts) if len(starts) else np.zeros(0)
    return np.where(np.diff(indptr) > 0, added, 0.0)


def maxima(values: Floats, indptr: npt.NDArray[np.integer]) -> Floats:
    """(rows,) the largest of the entries of each row, −inf where there is none."""
    starts = indptr[:-1].astype(np.int64)
    largest = np.maximum.reduceat(np.append(values, np.float32(-np.inf)), starts) if len(starts) else values[:0]
    return np.where(np.diff(indptr) > 0, largest, np.float32(-np.inf))


def found_cells(matrix: sp.csr_matrix, rows: Ints, columns: npt.NDArray[np.integer]) -> tuple[Ints, Ints, Ints]:
    """Where the asked cells (n,) are: which of the entries are asked for, and by which question of each; and (n,) the
    question that stands for each, where a cell is asked for several times. `rows` ascend.
    """
    n_rows, width = matrix.shape
    at, question, stands = [], [], np.empty(len(rows), dtype=np.int64)
    step = max(1, CELLS // max(width, 1))
    table = np.full(min(step, n_rows) * width, -1, dtype=np.int32)
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        first, last = np.searchsorted(rows, (start, stop))
        cells = (rows[first:last] - start) * width + columns[first:last]
        table[cells] = np.arange(last - first)
        stands[first:last] = table[cells] + first
        low, high = matrix.indptr[start], matrix.indptr[stop]
        firsts = np.arange(stop - start, dtype=np.int32) * np.int32(width)
        of_row = np.repeat(firsts, np.diff(matrix.indptr[start : stop + 1]))
        asked = table[of_row + matrix.indices[low:high]]
        there = np.flatnonzero(asked >= 0)
        at.append(there + low)
        question.append(asked[there] + first)
        table[cells] = -1
    return np.concatenate([*at, np.zeros(0, np.int64)]), np.concatenate([*question, np.zeros(0, np.int64)]), stands


def values_at(matrix: sp.csr_matrix, rows: Ints, columns: npt.NDArray[np.integer]) -> Floats:
    """(n,) `matrix[rows[i], columns[i]]`, 0 where there is no entry; no cell has two entries. `rows` ascend."""
    at, question, stands = found_cells(matrix, rows, columns)
    out = np.zeros(len(rows), dtype=np.float32)
    out[question] = matrix.data[at]
    return out[stands]


def first_free(order: Codes, n: int, n_rows: int, rows: Ints, taken: npt.NDArray[np.integer]) -> tuple[Ints, Codes]:
    """Rows and items: of each row the first n of `order` (distinct items) that are not `taken[i]` by `rows[i]`."""
    place = np.full(int(max(order.max(initial=-1), taken.max(initial=-1))) + 1, len(order))
    place[order] = np.arange(len(order))
    places, width = place[taken], min(2 * n, len(order))
    while True:
        free = np.ones((n_rows, width), dtype=bool)
        inside = places < width
        free[rows[inside], places[inside]] = False
        if width == len(order) or (free.sum(axis=1) >= n).all():
            break
        width = min(4 * width, len(order))
    found, at = np.nonzero(free)
    kept = within_groups(np.bincount(found, minlength=n_rows)) < n
    return found[kept], order[at[kept]]


def strongest(matrix: sp.csr_matrix, n: int, ties: Ints | None = None) -> sp.csr_matrix:
    """The n largest entries of each row; a sorted matrix of float32, at most one entry a cell.

    Equal ones by `ties` (columns,), a permutation, or without by column.
    """
    if ties is not None:
        of_ties = sp.csr_matrix((matrix.data, ties[matrix.indices].astype(np.int32), matrix.indptr), matrix.shape)
        found = strongest(of_ties, n)
        columns = np.argsort(ties).astype(np.int32)[found.indices]
        return sp.csr_matrix((found.data, columns, found.indptr), found.shape).sorted_indices()
    bits = int(max(matrix.shape[1] - 1, 1)).bit_length()
    step = 1 << max(32 - bits, 0)
    parts = [_strongest(matrix[start : start + step], n, bits) for start in range(0, matrix.shape[0], step)]
    return sp.vstack(parts, format="csr") if parts else matrix


def _strongest(matrix: sp.csr_matrix, n: int, bits: int) -> sp.csr_matrix:
    """For few rows. Row, value and column (`bits` wide) are one whole number: a sort of these takes a fifth of the time
    of a sort by several keys.
    """
    width, column, mask = np.uint64(bits), np.uint64((1 << bits) - 1), np.uint64(0xFFFFFFFF)
    rows = np.arange(matrix.shape[0], dtype=np.uint64)
    values = falling(matrix.data.astype(np.float32).view(np.uint32))
    keys = (np.repeat(rows, np.diff(matrix.indptr)) << np.uint64(32) | values) << width
    keys = np.sort(keys | matrix.indices.astype(np.uint64))
    lengths = np.minimum(np.diff(matrix.indptr), n)
    keys = keys[np.repeat(matrix.indptr[:-1].astype(np.int64), lengths) + within_groups(lengths)]
    columns = np.repeat(rows, lengths) << width | keys & column
    keys = np.sort(columns << np.uint64(32) | keys >> width & mask)
    values = falling(keys.astype(np.uint32)).view(np.float32)
    return sp.csr_matrix(
        (values, (keys >> np.uint64(32) & column).astype(np.int32), offsets_of(lengths)), shape=matrix.shape
    )

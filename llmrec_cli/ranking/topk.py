"""Where scores become lists: the exact k best items of each user, with ties broken the same way every time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Ints, within_groups
from llmrec_cli.data.ranks import falling, falling_order, sort_keys, tie_bits

F = TypeVar("F", np.float32, np.float64)

BLOCK_USERS = 512
"""More users at a time are not faster; fewer where memory is short."""
CELLS = 1 << 22
"""Cells of users × items that are looked at together; more leave the processor's cache."""


def topk(
    scores: npt.NDArray[F], k: int, *, forbidden: Bools | sp.csr_matrix | None = None, ties: Ints | None = None
) -> tuple[Codes, npt.NDArray[F]]:
    """(users, k) codes and scores of the best items, best first; −1 and −inf where a row has fewer that are allowed.

    `scores` is (users, items); −inf takes an item out, as does `forbidden`: a mask of the same shape or a sparse matrix
    with entries at the forbidden cells. Equal scores are ordered by `ties` (items,), `tie_order` of the catalogue;
    without it by code.
    """
    users, items = scores.shape
    out = np.full((users, k), -1, dtype=np.int32), np.full((users, k), -np.inf, dtype=scores.dtype)
    step = max(1, CELLS // max(items, 1))
    for start in range(0, users, step):
        part = slice(start, start + step)
        block = _without(scores[part], None if forbidden is None else forbidden[part])
        least = np.maximum(nth_bound(block, k), np.finfo(block.dtype).min)
        cells = np.flatnonzero(block >= least[:, None])  # several times as fast as np.nonzero
        rows, codes = np.divmod(cells, max(items, 1))
        out[0][part], out[1][part] = best_of(rows, codes, block.ravel()[cells], (len(block), k), ties)
    return out


def best_of(
    rows: Ints, codes: npt.NDArray[np.integer], scores: npt.NDArray[F], shape: tuple[int, int], ties: Ints | None
) -> tuple[Codes, npt.NDArray[F]]:
    """`topk` of `shape` (users, k) for entries in any order: (n,) rows, codes and finite scores."""
    users, k = shape
    counts = np.bincount(rows, minlength=users)
    place = within_groups(counts)
    kept = np.flatnonzero(place < k)
    row, place = np.repeat(np.arange(users), np.minimum(counts, k)), place[kept]
    found, values = np.full(shape, -1, dtype=np.int32), np.full(shape, -np.inf, dtype=scores.dtype)
    of = codes if ties is None else ties[codes]
    bits = tie_bits(of)
    keys = sort_keys(rows, scores, of, bits)
    if keys is None:
        order = falling_order(rows, scores, of)[kept]
        found[row, place], values[row, place] = codes[order], scores[order]
        return found, values
    keys.sort()  # a third of the time of its argsort; code and score are in the key
    keys = keys[kept]
    of = (keys & np.uint64((1 << bits) - 1)).astype(np.int64)
    found[row, place] = of if ties is None else inverse(ties)[of]
    values[row, place] = falling((keys >> np.uint64(bits)).astype(np.uint32)).view(np.float32)
    return found, values


def inverse(order: Ints) -> Codes:
    """(n,) where each of the numbers 0 to n - 1 stands in a permutation of them."""
    out = np.empty(len(order), dtype=np.int32)
    out[order] = np.arange(len(order), dtype=np.int32)
    return out


def nth_bound(block: npt.NDArray[F], n: int) -> npt.NDArray[F]:
    """(rows,) a value that at least n of the row reach and few more, −inf where it is no longer than n.

    The n-th largest of the maxima of groups of columns: looking at all columns takes ten times as long.
    """
    rows, width = block.shape
    size = max(1, width // (8 * max(n, 1)))
    whole = width // size * size
    maxima = block[:, :whole].reshape(rows, size, whole // size).max(axis=1) if size > 1 else block
    if maxima.shape[1] <= n:
        return np.full(rows, -np.inf, dtype=block.dtype)
    found: npt.NDArray[F] = np.partition(maxima, maxima.shape[1] - n, axis=1)[:, maxima.shape[1] - n]
    return found


def padded(values: npt.NDArray[F], indptr: npt.NDArray[np.integer]) -> npt.NDArray[F]:
    """(rows, longest) the entries of each row from the left on, then −inf."""
    lengths = np.diff(indptr)
    out = np.full((len(lengths), int(lengths.max(initial=0))), -np.inf, dtype=values.dtype)
    out[np.arange(out.shape[1]) < lengths[:, None]] = values
    return out


def _without(scores: npt.NDArray[F], forbidden: Bools | sp.csr_matrix | None) -> npt.NDArray[F]:
    if forbidden is None:
        return np.ascontiguousarray(scores)
    if isinstance(forbidden, np.ndarray):
        return np.where(forbidden, scores.dtype.type(-np.inf), scores)
    out = scores.copy()
    out[np.repeat(np.arange(len(out)), np.diff(forbidden.indptr)), forbidden.indices] = -np.inf
    return out


def blocks(n_users: int, n_items: int, max_memory: int, arrays: int = 4) -> Iterator[tuple[int, int]]:
    """(start, stop) of blocks of users so that `arrays` float32 blocks of users × items fit `max_memory`."""
    step = int(np.clip(max_memory // max(4 * n_items * arrays, 1), 1, BLOCK_USERS))
    for start in range(0, n_users, step):
        yield start, min(start + step, n_users)

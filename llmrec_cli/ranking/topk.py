"""Where scores become lists: the exact k best items of each user, with ties broken the same way every time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from llmrec_cli.core.arrays import Bools, Codes, Ints

F = TypeVar("F", np.float32, np.float64)

BLOCK_USERS = 512
"""More users at a time are not faster; fewer where memory is short."""


def topk(
    scores: npt.NDArray[F], k: int, *, forbidden: Bools | sp.csr_matrix | None = None, ties: Ints | None = None
) -> tuple[Codes, npt.NDArray[F]]:
    """(users, k) codes and scores of the best items, best first; −1 and −inf where a row has fewer that are allowed.

    `scores` is (users, items); −inf takes an item out, as does `forbidden`: a mask of the same shape or a sparse matrix
    with entries at the forbidden cells. Equal scores are ordered by `ties` (items,), `tie_order` of the catalogue;
    without it by code.
    """
    items = scores.shape[1]
    fixed = torch.arange(items) if ties is None else torch.from_numpy(ties)
    block = torch.from_numpy(_without(scores, forbidden))
    n = min(k, items)
    values, codes = block.topk(n, dim=1, sorted=False)
    codes = _resolve_ties(block, values, codes, fixed)
    values = block.gather(1, codes)
    order = fixed[codes].argsort(dim=1)  # first by the fixed order, then stably by score
    codes, values = codes.gather(1, order), values.gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    found = codes.gather(1, order).to(torch.int32).masked_fill_(values == -torch.inf, -1)
    pad = (0, k - n)
    padded = torch.nn.functional.pad(found, pad, value=-1), torch.nn.functional.pad(values, pad, value=-torch.inf)
    return padded[0].numpy(), padded[1].numpy()


def _without(scores: npt.NDArray[F], forbidden: Bools | sp.csr_matrix | None) -> npt.NDArray[F]:
    if forbidden is None:
        return np.ascontiguousarray(scores)
    if isinstance(forbidden, np.ndarray):
        return np.where(forbidden, scores.dtype.type(-np.inf), scores)
    out = scores.copy()
    out[np.repeat(np.arange(len(out)), np.diff(forbidden.indptr)), forbidden.indices] = -np.inf
    return out


def _resolve_ties(block: torch.Tensor, values: torch.Tensor, codes: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """`torch.topk` takes any of the items that equal the last one; take those that stand first by `fixed` instead."""
    last = values.amin(dim=1, keepdim=True)
    equal = (block == last).sum(dim=1)
    crowded = torch.nonzero((equal > (values == last).sum(dim=1)) & (last[:, 0] > -torch.inf))[:, 0]
    if len(crowded) == 0:
        return codes
    # float64 keeps the whole order; whatever beats the last score stands before all that equal it
    rows, threshold = block[crowded], last[crowded]
    keys = torch.where(rows == threshold, -1.0 - fixed.double(), -torch.inf)
    keys = torch.where(rows > threshold, 1.0, keys)
    codes = codes.clone()
    codes[crowded] = keys.topk(codes.shape[1], dim=1, sorted=False).indices
    return codes


def blocks(n_users: int, n_items: int, max_memory: int, arrays: int = 4) -> Iterator[tuple[int, int]]:
    """(start, stop) of blocks of users so that `arrays` float32 blocks of users × items fit `max_memory`."""
    step = int(np.clip(max_memory // max(4 * n_items * arrays, 1), 1, BLOCK_USERS))
    for start in range(0, n_users, step):
        yield start, min(start + step, n_users)

"""Semantic ids: an item's content as a few digits, coarse to fine, so that like items share their first digits."""

from __future__ import annotations

import numpy as np
import torch

from llmrec_cli.core.arrays import Codes, Floats, within_groups

Ids = Codes
ROWS_PER_CODE = 256
"""Rows that the centroids of a level are fitted on, for each of them; more change little."""
NOISE = 1e-5
"""Residuals shorter than this share of the longest vector are rounding errors."""


def learn(vectors: Floats, levels: int = 3, codes: int = 256, seed: int = 0) -> Ids:
    """(items, levels + 1) int32 digits, no two rows alike, by residual quantisation of (items, t) vectors.

    Each level is a k-means of what the levels before it left over (RQ-KMeans, as in OneRec, Deng et al. 2025), which
    needs no training as the RQ-VAE of TIGER (Rajput et al. 2023) does. The last digit counts the items that are equal
    up to there, in the order of items, as in TIGER: it is 0 for most and grows as far as it must. Items without
    content (zero rows) are one such group, or lie with those that are nearest to nothing. A level has at most
    2 √items codes, so that the digits of a small catalogue are still shared.
    """
    wanted = max(1, min(codes, int(np.ceil(2 * len(vectors) ** 0.5))))
    out = np.zeros((len(vectors), levels + 1), dtype=np.int32)
    residuals = np.array(vectors, dtype=np.float32)
    shortest = NOISE * np.linalg.norm(residuals, axis=1).max(initial=0)
    for level in range(levels):
        residuals[np.linalg.norm(residuals, axis=1) <= shortest] = 0
        if not residuals.any():  # nothing is left to tell items apart by
            break
        out[:, level], centroids = _quantise(residuals, wanted, np.random.default_rng([seed, level]))
        residuals -= centroids[out[:, level]]
    out[:, levels] = _place_among_equals(out[:, :levels])
    return out


def _quantise(rows: Floats, codes: int, rng: np.random.Generator) -> tuple[Ids, Floats]:
    """The nearest of at most `codes` centroids for each row, and the centroids."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    chosen = rng.permutation(len(rows))[: ROWS_PER_CODE * codes]
    sample = rows[np.sort(chosen)]
    distinct = len(np.unique(sample, axis=0))
    # One thread: several add up in an order of their own, and the last bits of a centroid can move an item
    with threadpool_limits(1):
        model = KMeans(min(codes, distinct), n_init=1, max_iter=50, random_state=int(rng.integers(1 << 31)))
        model.fit(sample)
        return model.predict(rows), model.cluster_centers_


def _place_among_equals(digits: Ids) -> Ids:
    """(items,) how many rows before this one are equal to it."""
    _, group = np.unique(digits, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    places = np.empty(len(digits), dtype=np.int32)
    places[order] = within_groups(sizes)
    return places


class Trie:
    """The prefixes of all ids: which digits may follow which, down to the items.

    Nodes of a depth are numbered in the order of their digits, so that the children of a node are a range.
    """

    def __init__(self, ids: Ids) -> None:
        """`ids` (items, digits) int32 as `learn` gives them."""
        order = np.lexsort(ids.T[::-1])
        ordered = ids[order]
        fresh = np.ones(ordered.shape, dtype=bool)  # [row, depth]: a node of the depth begins at the row
        fresh[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
        number = fresh.cumsum(0) - 1
        self.items = torch.from_numpy(order)
        """(leaves,) the item of each node of the last depth."""
        self.digits = [torch.from_numpy(ordered[new, d].astype(np.int64)) for d, new in enumerate(fresh.T)]
        """For each depth (nodes,) the digit that leads to each node."""
        parents = [np.arange(len(ids)) == 0, *fresh.T[:-1]]
        first = [np.append(n[new], n[-1:] + 1) for n, new in zip(number.T, parents, strict=True)]
        self._first = [torch.from_numpy(starts) for starts in first]

    def children(self, depth: int, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(..., most children) nodes of `depth` under `nodes` of the depth before (0 = the root), and which exist."""
        start, stop = self._first[depth][nodes, None], self._first[depth][nodes + 1, None]
        children = start + torch.arange(int((stop - start).max()))
        return children.clamp(max=len(self.digits[depth]) - 1), children < stop

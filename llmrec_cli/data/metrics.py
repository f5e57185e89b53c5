"""Accuracy of ranked lists for each user, what lists are like, alone and together, and intervals of their means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats, Ints, offsets_of

Targets = tuple[Ints, Codes]
"""(users + 1,) offsets and the (targets,) item codes of all users, one after the other."""

MISS = np.iinfo(np.int32).max
"""The rank of a target that is in no list."""

_RESAMPLES_AT_ONCE = 4_000_000
_NUMBERS_AT_ONCE = 4_000_000
"""Of the sums of vectors of users: 32 MB of memory, however many users there are."""


class Interval(NamedTuple):
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def rank_metrics(recommended: Codes, targets: Targets, k: int) -> dict[str, Doubles]:
    """Per-user accuracy of the first k of each list, as (users,) arrays keyed `recall@k`, `ndcg@k`, `mrr@k`, `map@k`,
    `hit@k` (1 where any target is in the list).

    `recommended` is (users, width) item codes, best first, -1 where a list is short. A target counts once however often
    it is given. Relevance is binary; the ideal list of nDCG has min(k, targets) hits; MAP divides by the targets
    (as trec_eval does). Raises ValueError for a user without targets, whose accuracy is not defined.
    """
    hits, n_targets = _hits(recommended[:, :k], targets)
    if (n_targets == 0).any():
        raise ValueError("every user needs a target: leave out the users without one")
    positions = np.arange(1, hits.shape[1] + 1)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_targets, k) - 1]
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)
    precision_at_hits = hits * np.cumsum(hits, axis=1) / positions
    return {
        f"recall@{k}": hits.sum(axis=1) / n_targets,
        f"ndcg@{k}": hits @ discounts[: hits.shape[1]] / ideal,
        f"mrr@{k}": 1.0 / first,
        f"map@{k}": precision_at_hits.sum(axis=1) / n_targets,
        f"hit@{k}": hits.any(axis=1).astype(np.float64),
    }


def single_target_metrics(ranks: npt.NDArray[np.integer], k: int) -> dict[str, Doubles]:
    """`recall@k`, `ndcg@k`, `mrr@k` with one target a user, at rank `ranks` (0 = first, MISS = nowhere)."""
    hit = ranks < k
    rank = np.where(hit, ranks, 0).astype(np.float64)
    return {
        f"recall@{k}": hit.astype(np.float64),
        f"ndcg@{k}": hit / np.log2(rank + 2.0),
        f"mrr@{k}": hit / (rank + 1.0),
    }


def _hits(recommended: Codes, targets: Targets) -> tuple[Bools, Ints]:
    """(users, width) whether each recommended item is a target, and (users,) how many different targets there are."""
    offsets, items = targets
    n_users = len(offsets) - 1
    width = int(max(items.max(initial=0), recommended.max(initial=0))) + 1
    users = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(offsets))
    wanted = np.unique(users * width + items)
    n_targets = np.bincount(wanted // width, minlength=n_users)
    keys = np.arange(n_users, dtype=np.int64)[:, None] * width + recommended
    found = np.isin(keys, wanted, kind="sort" if len(wanted) else None) & (recommended >= 0)
    return found, n_targets


def coverage(recommended: Codes, n_items: int, k: int) -> float:
    """The share of the catalogue that is in the first k of at least one list."""
    shown = recommended[:, :k]
    return len(np.unique(shown[shown >= 0])) / max(n_items, 1)


def gini(recommended: Codes, n_items: int, k: int) -> float:
    """How unequally the first k are spread over the catalogue: 0 evenly, (n − 1) / n all on one item."""
    shown = recommended[:, :k]
    shares = np.sort(np.bincount(shown[shown >= 0], minlength=n_items)).astype(np.float64)
    if shares.sum() == 0:
        return 0.0
    return float((2 * np.arange(1, n_items + 1) - n_items - 1) @ shares / (n_items * shares.sum()))


def list_mean(recommended: Codes, worth: Doubles, k: int) -> Doubles:
    """(users,) mean of an (items,) figure over the first k of each list; NaN for an empty list."""
    shown = recommended[:, :k]
    there = shown >= 0
    n = there.sum(axis=1)
    return np.where(n > 0, (worth[np.maximum(shown, 0)] * there).sum(axis=1) / np.maximum(n, 1), np.nan)


def calibration(recommended: Codes, wanted: sp.csr_matrix, tags: sp.csr_matrix, k: int, alpha: float = 0.01) -> Doubles:
    """(users,) how far the tags of a list are from those of the history: KL(p || (1 − alpha) q + alpha p) in nats.

    Steck, Calibrated recommendations (RecSys 2018). `wanted` is p, (users, tags) with rows that sum to 1; `tags` is
    (items, tags) with rows that sum to 1; q is the mean of the list's rows. 0 is the same spread of tags, log(1/alpha)
    none in common. NaN where the history or the list has no tags.
    """
    shown = recommended[:, :k]
    there = shown >= 0
    offsets = offsets_of(there.sum(axis=1))
    lists = sp.csr_matrix((np.ones(offsets[-1]), shown[there], offsets), shape=(len(shown), tags.shape[0]))
    given = row_shares(lists @ tags)
    p = wanted.tocsr(copy=True)
    p.eliminate_zeros()
    p.sort_indices()
    smoothed = (alpha * p + (1 - alpha) * given.multiply(p > 0)).tocsr()
    smoothed.sort_indices()  # the entries of p, in the same order
    terms = p.copy()
    terms.data = p.data * np.log(p.data / smoothed.data)
    known = (np.diff(p.indptr) > 0) & (np.diff(given.indptr) > 0)
    return np.where(known, np.asarray(terms.sum(axis=1)).ravel(), np.nan)


def row_shares(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """The matrix with each row divided by its sum; empty rows stay empty."""
    out = sp.csr_matrix(matrix, dtype=np.float64, copy=True)
    out.data /= np.repeat(np.asarray(out.sum(axis=1)).ravel(), np.diff(out.indptr))
    return out


def novelty(recommended: Codes, counts: Ints, n_users: int, k: int) -> Doubles:
    """(users,) mean self-information −log2 p(item) in bits, p = (events of the item + 1) / (users + 1), at most 1."""
    bits = -np.log2(np.minimum((counts + 1.0) / (n_users + 1.0), 1.0))
    shown = recommended[:, :k]
    there = shown >= 0
    return (bits[np.maximum(shown, 0)] * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def diversity(recommended: Codes, vectors: Floats, k: int) -> Doubles:
    """(users,) mean of 1 − cosine over the pairs in a list, from unit-length item vectors; 0 for lists of one item."""
    step = max(1, _NUMBERS_AT_ONCE // max(vectors.shape[1], 1))
    parts = [_diversity(recommended[start : start + step, :k], vectors) for start in range(0, len(recommended), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _diversity(shown: Codes, vectors: Floats) -> Doubles:
    there = shown >= 0
    n = there.sum(axis=1)
    total = np.zeros((len(shown), vectors.shape[1]))
    norms = np.zeros(len(shown))
    for rank in range(shown.shape[1]):  # by rank, so that no (users, k, d) array is built
        rows = vectors[np.maximum(shown[:, rank], 0)] * there[:, rank, None]
        total += rows
        norms += np.einsum("ud,ud->u", rows, rows)
    pairs = np.maximum(n * (n - 1), 1)
    similarity = (np.einsum("ud,ud->u", total, total) - norms) / pairs
    return np.where(n > 1, 1.0 - similarity, 0.0)


def bootstrap(values: npt.ArrayLike, seed: int, n: int = 1000) -> Interval:
    """The mean over users and its 95 % percentile interval over n resamples of the users; NaN for no users."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return Interval(np.nan, np.nan, np.nan)
    generator = np.random.default_rng([seed, 0xB007])
    return _interval(float(array.mean()), _resampled_means(array, generator, n))


def difference_bootstrap(a: npt.ArrayLike, b: npt.ArrayLike, seed: int, n: int = 1000) -> Interval:
    """The mean of a less the mean of b, which are of different users, each resampled on its own; NaN for no users."""
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if min(len(one), len(other)) == 0:
        return Interval(np.nan, np.nan, np.nan)
    generator = np.random.default_rng([seed, 0xB007])
    means = _resampled_means(one, generator, n) - _resampled_means(other, generator, n)
    return _interval(float(one.mean() - other.mean()), means)


def _resampled_means(array: Doubles, generator: np.random.Generator, n: int) -> Doubles:
    """(n,) means of the array resampled with replacement."""
    # Per-user metrics take few values: resampling how often each occurs has the same law as resampling the users.
    distinct, counts = np.unique(array, return_counts=True)
    step = max(1, _RESAMPLES_AT_ONCE // len(distinct))
    shares = counts / len(array)
    means = [
        generator.multinomial(len(array), shares, size=min(step, n - done)) @ distinct / len(array)
        for done in range(0, n, step)
    ]
    return np.concatenate(means)


def _interval(mean: float, resampled: Doubles) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(mean, float(low), float(high))


def normal_interval(values: npt.ArrayLike) -> Interval:
    """The mean over users and 1.96 standard errors to both sides, for figures that differ from user to user; no NaN."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if len(array) == 0:
        return Interval(np.nan, np.nan, np.nan)
    half = 1.96 * float(array.std(ddof=min(1, len(array) - 1))) / float(np.sqrt(len(array)))
    mean = float(array.mean())
    return Interval(mean, mean - half, mean + half)


def paired_bootstrap(a: npt.ArrayLike, b: npt.ArrayLike, seed: int, n: int = 1000) -> Interval:
    """The mean of a − b over the same users with its interval: the difference is real where 0 lies outside."""
    return bootstrap(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), seed, n)

"""Where targets stand in a full ranking of the catalogue, seen items filtered and not, and the metrics of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from llmrec_cli.data import ranks
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import bootstrap, single_target_metrics
from llmrec_cli.ranking.retrievers import Histories, Retriever

Floats = np.ndarray
Ints = np.ndarray
Ranks = dict[str, Ints]
"""(users,) ranks from 0, by "filtered" (seen items left out) and "unfiltered"."""
Metrics = dict[str, Floats]
K = 10
RESAMPLES_SEED = 42
_SCORES_AT_ONCE = 16_000_000


def scores_of_all(retriever: Retriever, sequences: Sequences) -> Floats:
    """(users, items) what a retriever that needs no vector of a user says of every item."""
    shape = len(sequences), sequences.n_items
    users, items = np.indices(shape).reshape(2, -1)
    histories = Histories(sequences, np.zeros((len(sequences), 0), dtype=np.float32))
    return retriever.pairs(histories, users, items.astype(np.int32)).reshape(shape)


def target_ranks(score: Callable[[int, int], Floats], histories: Sequences, targets: Ints, ties: Ints) -> Ranks:
    """The rank of each user's target among all items; `score(start, stop)` is (stop - start, items) of those users.

    A target that the user has seen already is ranked all the same: filtering takes away other items only. One that is
    not in the catalogue (-1) is a miss.
    """
    filtered, unfiltered = np.empty(len(targets), dtype=np.int64), np.empty(len(targets), dtype=np.int64)
    block = max(1, _SCORES_AT_ONCE // histories.n_items)
    for start in range(0, len(targets), block):
        rows = slice(start, min(start + block, len(targets)))
        scores = score(rows.start, rows.stop)
        if not np.isfinite(scores).all():
            raise ValueError("a score is no finite number")
        seen = histories.select(np.arange(rows.start, rows.stop))
        unfiltered[rows] = ranks.target_ranks(scores, targets[rows], ties)
        filtered[rows] = ranks.unseen_ranks(partial(_rows, scores), seen, targets[rows], ties)
    return {"filtered": filtered, "unfiltered": unfiltered}


def _rows(scores: Floats, start: int, stop: int) -> Floats:
    return scores[start:stop]


def by_vectors(queries: Floats, items: Floats) -> Callable[[int, int], Floats]:
    """Scores as the product of (users, d) queries and (items, d) vectors."""
    columns = np.ascontiguousarray(items.T, dtype=np.float32)
    return lambda start, stop: queries[start:stop].astype(np.float32) @ columns


def metrics(ranks: Ints) -> Metrics:
    """recall@10 and ndcg@10 of each user."""
    found = single_target_metrics(ranks, K)
    return {name: found[name] for name in (f"recall@{K}", f"ndcg@{K}")}


def over_seeds(runs: Sequence[Metrics]) -> Metrics:
    """The mean over the runs (one a seed) of each user's metric."""
    return {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}


def means(values: Metrics) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in values.items()}


def intervals(values: Metrics) -> dict[str, list[float]]:
    """Mean and 95 % bootstrap interval over the users, as [mean, low, high]."""
    return {name: list(map(float, bootstrap(value, RESAMPLES_SEED))) for name, value in values.items()}


def at_random(n_candidates: Ints) -> dict[str, float]:
    """What a ranking by chance is expected to reach, for (users,) numbers of items that are ranked."""
    gains = 1 / np.log2(np.arange(K) + 2)
    return {
        f"recall@{K}": float(np.mean(K / n_candidates)),
        f"ndcg@{K}": float(np.mean(gains.sum() / n_candidates)),
    }


def named(prefix: str, found: Mapping[str, float]) -> str:
    """In one line, for the log."""
    return prefix + ", ".join(f"{name} {value:.4f}" for name, value in found.items())

"""Where the withheld next item of each user stands in a full ranking, seen items left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from llmrec_cli.tables.metrics import single_target_metrics
from llmrec_cli.tables.sequences import Sequences

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BLOCK = 1024


def target_ranks(score: Callable[[int, int], Floats], histories: Sequences, targets: Ints) -> Ints:
    """(users,) rank from 0 of each target; `score(start, stop)` gives (stop - start, items) of a block of users.

    An item of the history is never counted before the target. Equal scores count against the target.
    """
    ranks = np.empty(len(histories), dtype=np.int64)
    for start in range(0, len(histories), BLOCK):
        stop = min(start + BLOCK, len(histories))
        scores = np.array(score(start, stop))
        rows = np.arange(stop - start)
        wanted = scores[rows, targets[start:stop]]
        seen = histories.select(np.arange(start, stop))
        scores[seen.users, seen.codes] = -np.inf
        scores[rows, targets[start:stop]] = -np.inf
        ranks[start:stop] = (scores >= wanted[:, None]).sum(1)
    return ranks


def recall_and_ndcg(ranks: Ints, k: int = 10) -> dict[str, float]:
    """Mean recall@k and NDCG@k with one relevant item a user."""
    found = single_target_metrics(ranks, k)
    return {name: float(found[name].mean()) for name in (f"recall@{k}", f"ndcg@{k}")}

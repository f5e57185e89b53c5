"""The ranks of targets in a ranking of all items: one law of ties for training, choice, lists and measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from llmrec_cli.core.arrays import Ints
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import MISS

Scores = npt.NDArray[np.floating]

_SCORES_AT_ONCE = 16_000_000


def tie_order(item_ids: Sequence[str]) -> Ints:
    """(items,) the rank of each item among items of equal score: by a hash of its id (SipHash of pandas).

    Ids and rows may follow time or popularity, so breaking ties by them would leak; and what the hash of an id is does
    not change with the catalogue around it.
    """
    hashes = pd.util.hash_array(np.asarray(item_ids, dtype=object), categorize=False)
    out = np.empty(len(hashes), dtype=np.int64)
    out[np.argsort(hashes, kind="stable")] = np.arange(len(hashes))
    return out


def falling_order(rows: Ints, scores: Scores, ties: npt.NDArray[np.integer]) -> Ints:
    """(n,) the order of entries by row, falling score, and `ties` (n,): numbers below 2**40 that begin at 0.

    One sort of plain integers takes a tenth of the time of a sort by three keys; it serves where 64 bits hold
    them.
    """
    keys = sort_keys(rows, scores, ties, tie_bits(ties))
    return np.lexsort((ties, -scores, rows)) if keys is None else np.argsort(keys)


def tie_bits(ties: npt.NDArray[np.integer]) -> int:
    return int(ties.max(initial=0)).bit_length()


def sort_keys(rows: Ints, scores: Scores, ties: npt.NDArray[np.integer], bits: int) -> npt.NDArray[np.uint64] | None:
    """(n,) whole numbers whose order is that by row, falling score and `ties`, which have so many bits; None where 64
    bits do not hold them. From the upper 32 of the lower 32 + `bits` bits `falling` gives the score again.
    """
    if scores.dtype != np.float32 or int(rows.max(initial=0)).bit_length() + 32 + bits > 64:
        return None
    high = rows.astype(np.uint64) << np.uint64(32) | falling((scores + np.float32(0)).view(np.uint32))  # -0 becomes 0
    return high << np.uint64(bits) | ties.astype(np.uint64)


def falling(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The bits of float32 numbers as whole numbers in falling order, and back."""
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))


def target_ranks(scores: Scores, targets: npt.NDArray[np.integer], ties: Ints) -> Ints:
    """(users,) the rank from 0 of each target among all items of its row of `scores` (users, items).

    Equal scores are ordered by `ties` (items,), `tie_order` of the catalogue. MISS where there is no target (-1) or it
    may not be shown (-inf).
    """
    wanted = np.take_along_axis(scores, np.maximum(targets, 0)[:, None], axis=1)
    before = (scores > wanted).sum(1) + ((scores == wanted) & (ties < ties[targets][:, None])).sum(1)
    return np.where(np.isneginf(wanted[:, 0]) | (targets < 0), MISS, before)


def unseen_ranks(score: Callable[[int, int], Scores], histories: Sequences, targets: Ints, ties: Ints) -> Ints:
    """`target_ranks` without what the user has seen; `score(start, stop)` gives (stop - start, items) of some users.

    A target that was seen already is ranked all the same: other items only are left out.
    """
    ranks = np.empty(len(histories), dtype=np.int64)
    block = max(1, _SCORES_AT_ONCE // max(histories.n_items, 1))
    for start in range(0, len(histories), block):
        stop = min(start + block, len(histories))
        scores, wanted = np.array(score(start, stop)), targets[start:stop]
        seen = histories.select(np.arange(start, stop))
        others = seen.codes != wanted[seen.users]
        scores[seen.users[others], seen.codes[others]] = -np.inf
        ranks[start:stop] = target_ranks(scores, wanted, ties)
    return ranks

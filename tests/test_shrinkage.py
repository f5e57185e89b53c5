from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.segments import Segments, segments
from llmrec_cli.profiles.shrinkage import FULL_WEIGHTS, UNLEARNED, choose, means_of_others

N_ITEMS = 40
TIES = np.arange(N_ITEMS)[::-1].copy()
"""Equal scores stand before the small numbers that are asked for here: a tie finds nothing."""


class Fixed:
    """An encoder whose states are those of a function of (histories); items stand on axes of their own."""

    item_vectors = np.eye(N_ITEMS, dtype=np.float32)

    def __init__(self, state: Any) -> None:
        self.state = state

    def encode(self, histories: Sequences, asked: Any = None) -> np.ndarray:
        return self.item_vectors[self.state(histories)]


def log(*histories: list[int]) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(np.array([i for h in histories for i in h], dtype=np.int32), offsets, N_ITEMS)


def everyone(n: int) -> Segments:
    none = np.full(n, None, dtype=object)
    return segments({"age": none, "gender": none, "region": none}, np.ones(n, dtype=bool), smallest=1)


def test_where_only_others_know_what_comes_next_the_vector_leans_on_them() -> None:
    """The own state is an item that was seen; of others it is 7, the newest of the one who is asked.

    After five events only 10 and 20 leave something to the others, and both find 7 first: the smaller is chosen.
    """
    asked = [[k, k + 1, k + 2, k + 3, k + 4, 7] for k in (10, 15, 20)]
    crowd = [[8, 7, 9] for _ in range(30)]
    found = choose(Fixed(Sequences.last), log(*asked, *crowd), everyone(33), TIES, seed=1)  # type: ignore[arg-type]
    assert found.full_weight == 10 and found.ndcg[20] == found.ndcg[10] > found.ndcg[5] > found.ndcg[1]
    assert "full weight from 10 events" in found.line()


def test_where_the_own_history_knows_it_the_own_vector_stays() -> None:
    """Users of even items choose 0 next, of odd ones 1. All weights find that first, so the smallest is chosen."""
    histories = [[2 + u, 4 + u, 6 + u, 8 + u, 10 + u, u % 2] for u in range(20)]
    found = choose(Fixed(lambda h: h.last() % 2), log(*histories), everyone(20), TIES, seed=1)  # type: ignore[arg-type]
    assert found.full_weight == 1 and found.ndcg[1] == 1.0 and found.n_measured == 20 * 4


def test_the_first_events() -> None:
    head = log([3, 1, 2], [], [4]).head(2)
    assert head.codes.tolist() == [3, 1, 4] and head.offsets.tolist() == [0, 2, 2, 3]


def test_nothing_to_learn_from() -> None:
    found = choose(Fixed(Sequences.last), log([1], [], [2]), everyone(3), TIES, seed=1)  # type: ignore[arg-type]
    assert found.full_weight == UNLEARNED and UNLEARNED in FULL_WEIGHTS and "nobody has two" in found.line()


def test_means_leave_out_the_one_who_is_asked() -> None:
    gender = np.array(["F", "F", "F", "M", "F"], dtype=object)
    none = np.full(5, None, dtype=object)
    found = segments({"age": none, "gender": gender, "region": none}, np.ones(5, dtype=bool), smallest=1)
    states = np.array([[1.0], [3.0], [5.0], [20.0]], dtype=np.float32)
    means = means_of_others(states, found, np.array([0, 1, 2, 3]))  # the last user is not in the sample
    assert means[:, 0].tolist() == pytest.approx([4.0, 3.0, 2.0, 3.0])  # the only man has the mean of all others

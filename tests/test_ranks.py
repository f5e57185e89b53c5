"""Ranks of targets in full rankings, and the order of equal scores."""

from __future__ import annotations

import numpy as np

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import MISS
from llmrec_cli.data.ranks import target_ranks, tie_order, unseen_ranks


def test_equal_scores_are_ordered_by_the_hash_of_the_id_and_not_by_the_row() -> None:
    ids = [str(i) for i in range(50)]
    ties = tie_order(ids)
    assert sorted(ties) == list(range(50)) and ties.tolist() != list(range(50))
    assert target_ranks(np.zeros((50, 50)), np.arange(50), ties).tolist() == ties.tolist()
    assert tie_order(ids[::-1])[::-1].tolist() == ties.tolist()  # a matter of the id alone


def test_a_target_that_is_unknown_or_may_not_be_shown_is_a_miss() -> None:
    scores = np.array([[3, 2, 1], [-np.inf, 2, 2], [3, 2, 1]], dtype=np.float32)
    assert target_ranks(scores, np.array([1, 0, -1]), np.arange(3)).tolist() == [1, MISS, MISS]
    assert target_ranks(scores, np.array([0, 2, 2]), np.arange(3)).tolist() == [0, 1, 2]


def test_what_was_seen_is_left_out_but_for_the_target() -> None:
    scores = np.array([[5, 4, 3, 3, 1], [1, 1, 1, 1, 1], [5, 4, 3, 2, 1]], dtype=np.float32)
    seen = Sequences(np.array([0, 1, 2, 0, 1], dtype=np.int32), np.array([0, 2, 3, 5]), 5)
    ties = np.array([4, 3, 2, 1, 0])
    ranks = unseen_ranks(lambda start, stop: scores[start:stop], seen, np.array([2, 0, 1]), ties)
    assert ranks.tolist() == [1, 3, 0]  # item 3 stands before item 2 by the law of ties
    assert scores[0, 0] == 5  # what is given stays as it is

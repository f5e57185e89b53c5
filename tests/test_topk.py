"""Lists are exact, ties fall the same way, and what is forbidden stays out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.retrieval import best_items
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.popularity import Popularity, PopularityConfig
from llmrec_cli.ranking.topk import blocks, topk


def order_of(items: int) -> np.ndarray:
    return tie_order([f"item{i}" for i in range(items)])


def brute_force(scores: np.ndarray, k: int, forbidden: np.ndarray) -> np.ndarray:
    ties = order_of(scores.shape[1])
    out = np.full((len(scores), k), -1, dtype=np.int32)
    for user, row in enumerate(scores):
        allowed = [i for i in np.lexsort((ties, -row)) if not forbidden[user, i] and row[i] > -np.inf]
        out[user, : len(allowed[:k])] = allowed[:k]
    return out


@pytest.mark.parametrize("k", [1, 4, 30, 50])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_equals_brute_force_with_few_and_with_many_ties(k: int, levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (25, 40)).astype(np.float32) - levels // 2
    forbidden = rng.random(scores.shape) < 0.3
    expected = brute_force(scores, k, forbidden)
    ties = order_of(scores.shape[1])
    codes, values = topk(scores, k, forbidden=forbidden, ties=ties)
    np.testing.assert_array_equal(codes, expected)
    rows = np.arange(len(scores))[:, None]
    np.testing.assert_array_equal(values, np.where(codes >= 0, scores[rows, codes], -np.inf))
    sparse, _ = topk(scores, k, forbidden=sp.csr_matrix(forbidden), ties=ties)
    np.testing.assert_array_equal(sparse, expected)


def test_the_input_is_left_alone() -> None:
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    topk(scores, 2, forbidden=np.ones((2, 3), dtype=bool))
    topk(scores, 2, forbidden=sp.csr_matrix(np.ones((2, 3))))
    np.testing.assert_array_equal(scores, np.arange(6).reshape(2, 3))


def test_the_tie_order_of_an_item_is_a_matter_of_its_id() -> None:
    few, many = ["b", "d", "c"], ["d", "a", "b", "c", "e"]
    among_many = tie_order(many)[[many.index(item) for item in few]]
    assert np.argsort(tie_order(few)).tolist() == np.argsort(among_many).tolist()


def test_nothing_allowed_gives_an_empty_list() -> None:
    codes, values = topk(np.ones((1, 3), dtype=np.float32), 5, forbidden=np.ones((1, 3), dtype=bool))
    assert (codes == -1).all() and np.isneginf(values).all() and codes.shape == (1, 5)


def test_ties_do_not_follow_the_codes() -> None:
    order = np.argsort(order_of(1000))
    assert sorted(order.tolist()) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
    codes, _ = topk(np.zeros((1, 1000), dtype=np.float32), 10, ties=order_of(1000))
    np.testing.assert_array_equal(codes[0], order[:10])


def test_blocks_cover_all_users_within_the_memory() -> None:
    pieces = list(blocks(1000, 100, max_memory=4 * 100 * 4 * 64))
    assert pieces[0] == (0, 64) and pieces[-1][1] == 1000
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
    assert list(blocks(2, 10**9, max_memory=1)) == [(0, 1), (1, 2)]
    assert list(blocks(0, 5, max_memory=1000)) == []


def test_lists_of_one_source_leave_out_what_was_seen() -> None:
    sequences = Sequences(np.array([0, 0, 0, 1, 1, 2], dtype=np.int32), np.array([0, 1, 3, 6, 6]), 4)
    source = Popularity(PopularityConfig(), np.log1p(sequences.counts()).astype(np.float32))
    codes, _ = best_items(source, Histories(sequences, np.zeros((4, 1), dtype=np.float32)), 3, max_memory=1)
    assert codes.tolist() == [[1, 2, 3], [1, 2, 3], [0, 3, -1], [0, 1, 2]]
    seen, _ = best_items(source, Histories(sequences, np.zeros((4, 1), dtype=np.float32)), 2, exclude_seen=False)
    assert (seen == [0, 1]).all()

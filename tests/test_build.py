from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.lists.build import OF_ALL, OF_SEGMENT, Backfill, Lists, backfilled, best, joined, summary
from llmrec_cli.lists.constraints import Constraints
from llmrec_cli.ranking.candidates import Candidates

FREE = Constraints(np.arange(6), np.full(6, -1))
TIES = tie_order([f"item{i}" for i in range(6)])


def candidates(rows: list[list[int]], **z: list[float]) -> Candidates:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    features = np.array(list(z.values()), dtype=np.float32).T
    names = tuple(f"{name}.z" for name in z)
    return Candidates(offsets, np.concatenate(rows).astype(np.int32), features, names, TIES)


def histories(*rows: list[int]) -> Sequences:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Sequences(np.concatenate([np.array(row, dtype=np.int32) for row in rows]), offsets, 6)


def fill(
    lists: Lists, popular: Backfill, segments: list[int], past: Sequences | None = None, constraints: Constraints = FREE
) -> Lists:
    nothing = histories(*[[] for _ in segments])
    return backfilled(
        lists,
        popular,
        np.array(segments),
        past or nothing,
        constraints,
        rows=np.arange(len(lists.items)),
        filter_seen=True,
    )


def test_the_best_k_by_score_and_the_source_that_adds_most() -> None:
    pool = candidates([[0, 1, 2], [4, 5]], near=[9, 1, 5, 1, 2], far=[1, 3, 2, 2, 1])
    found = best(pool, np.array([1, 3, 2, 1, 2], dtype=np.float32), 2, FREE, lambda rows: pool.features[rows])
    assert found.items.tolist() == [[1, 2], [5, 4]]
    assert found.scores.tolist() == [[3, 2], [2, 1]]
    assert found.carriers.tolist() == [[1, 0], [0, 1]]
    assert found.shares is not None and found.shares.tolist() == [[[1, 3], [5, 2]], [[2, 1], [1, 2]]]


def test_users_without_candidates_have_empty_lists() -> None:
    pool = candidates([[], [3]], near=[1])
    found = best(pool, np.array([1], dtype=np.float32), 2, FREE, lambda rows: pool.features[rows])
    assert found.items.tolist() == [[-1, -1], [3, -1]]


@pytest.fixture
def popular() -> Backfill:
    """Segment 0 chooses 0 and 1, segment 1 chooses 2; item 5 is not allowed, segment 2 is nobody's."""
    log = histories([0, 1, 5], [0, 5], [2], [])
    allowed = np.array([1, 1, 1, 1, 1, 0], dtype=bool)
    return Backfill.of(log, np.array([0, 0, 1, 0]), np.array([True, True, True]), allowed, TIES)


def empty(users: int, k: int) -> Lists:
    return Lists(
        np.full((users, k), -1, dtype=np.int32),
        np.full((users, k), np.nan, dtype=np.float32),
        np.full((users, k), OF_ALL),
    )


def test_the_cold_get_what_their_segment_chooses_then_what_all_choose(popular: Backfill) -> None:
    found = fill(empty(2, 3), popular, [0, 1])
    assert found.items.tolist()[0] == [0, 1, 2]
    assert found.carriers.tolist() == [[OF_SEGMENT, OF_SEGMENT, OF_ALL], [OF_SEGMENT, OF_ALL, OF_ALL]]
    assert found.items.tolist()[1][:2] == [2, 0]
    assert found.scores[0, 0] == 1.0 and found.scores[0, 1] == 0.5


def test_an_empty_segment_backs_off_to_everyone(popular: Backfill) -> None:
    found = fill(empty(1, 2), popular, [2])
    assert found.items[0, 0] == 0 and found.carriers.tolist() == [[OF_ALL, OF_ALL]]


def test_a_short_list_is_filled_behind_what_it_holds_without_the_seen(popular: Backfill) -> None:
    short = Lists(
        np.array([[2, -1, -1]], dtype=np.int32),
        np.array([[7, np.nan, np.nan]], dtype=np.float32),
        np.zeros((1, 3), int),
    )
    found = fill(short, popular, [3], histories([0]))
    assert found.items[0].tolist()[:2] == [2, 1]
    assert found.carriers[0].tolist() == [0, OF_ALL, OF_ALL]
    assert 0 not in found.items and 5 not in found.items


def test_what_was_turned_down_is_not_filled_in(popular: Backfill) -> None:
    past = replace(histories([0]), negative=sp.csr_matrix(([2], ([0], [1])), shape=(1, 6)))
    for seen, expected in ((True, {0, 1}), (False, {1})):
        found = backfilled(empty(1, 4), popular, np.array([3]), past, FREE, rows=np.arange(1), filter_seen=seen)
        assert {0, 1} - set(found.items[0].tolist()) == expected


def test_rules_hold_for_what_is_filled_in(popular: Backfill) -> None:
    held = Constraints(np.array([0, 0, 1, 2, 3, 4]), np.full(6, -1))
    assert 1 not in fill(empty(1, 3), popular, [0], constraints=held).items


def test_summary_counts_and_warns_of_like_lists() -> None:
    lists = joined(
        [Lists(np.array([[0, 1], [0, 1]], dtype=np.int32), np.ones((2, 2), np.float32), np.array([[0, 1], [0, -2]]))]
    )
    lines = summary(lists, ["near", "far", "popularity", "segment"], np.ones(4, bool), checked="held", cold=1, seed=1)
    assert lines.counts == {"users": 2, "rows": 4, "full": 2, "cold": 1, "items": 2}
    assert "near 50%, popularity 25%, far 25%" in lines.lines[3]
    assert "alike" in lines.warnings[0]


def test_summary_says_why_lists_are_short() -> None:
    lists = Lists(np.array([[0, -1]], dtype=np.int32), np.ones((1, 2), np.float32), np.zeros((1, 2), int))
    lines = summary(lists, ["near"], np.array([True, False]), checked="held", cold=0, seed=1)
    assert "1 lists are short: 1 items are allowed" in lines.lines[1]

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.profiles.interests import (
    Window,
    at,
    changes,
    interests,
    leading,
    normalised,
    population_shares,
    tagged,
)


def rows(column: object) -> list[list[str]]:
    return [[each["tag"] for each in row] for row in column.to_pylist()]  # type: ignore[attr-defined]


def test_tagged_counts_a_tag_of_an_item_once() -> None:
    found = tagged([["b", "a", "b", ""], None, ["a"]])
    assert found.names == ["a", "b"]
    assert found.matrix.toarray().tolist() == [[1, 1], [0, 0], [1, 0]]


def test_tagged_without_any_tag() -> None:
    assert tagged([None, []]).matrix.shape == (2, 0)


def test_interests_prefer_what_is_above_the_population() -> None:
    tags = tagged([["drama"], ["horror"]])
    history = sp.csr_matrix(np.array([[10, 10], [30, 0], [30, 0]], dtype=np.float32))
    weights = interests(history, tags, population_shares(history.sum(axis=0).A1, tags))
    assert rows(leading(weights, tags.names, 1)) == [["horror"], ["drama"], ["drama"]]


def test_one_event_of_a_rare_tag_does_not_dominate() -> None:
    tags = tagged([["common"], ["rare"]])
    history = sp.csr_matrix(np.array([[9, 1], [990, 0]], dtype=np.float32))
    weights = interests(history, tags, population_shares([999, 1], tags))
    column = leading(weights, tags.names, 2).to_pylist()[0]
    assert [each["tag"] for each in column] == ["common", "rare"]


def test_leading_breaks_ties_by_name_and_sums_to_one() -> None:
    weights = sp.csr_matrix(np.array([[1, 1, 2, 0], [0, 0, 0, 0]], dtype=np.float32))
    column = leading(weights, ["a", "b", "c", "d"], 2)
    assert rows(column) == [["c", "a"], []]
    assert sum(each["weight"] for each in column.to_pylist()[0]) == pytest.approx(1)


def test_leading_drops_what_is_too_little() -> None:
    assert rows(leading(sp.csr_matrix(np.array([[0.9, 0.1]], dtype=np.float32)), ["a", "b"], 2, least=0.2)) == [["a"]]


def test_normalised_keeps_empty_rows_empty() -> None:
    assert normalised(sp.csr_matrix(np.array([[1.0, 3.0], [0.0, 0.0]]))).toarray().tolist() == [[0.25, 0.75], [0, 0]]


def test_leading_reports_the_events_behind_a_weight() -> None:
    weights = sp.csr_matrix(np.array([[1, 3, 0], [0, 1, 0]], dtype=np.float32))
    events = sp.csr_matrix(np.array([[7, 2, 9], [0, 0, 1]], dtype=np.float32))
    column = leading(weights, ["a", "b", "c"], 2, events=events).to_pylist()
    assert column[0] == [{"tag": "b", "weight": 0.75, "support": 2}, {"tag": "a", "weight": 0.25, "support": 7}]
    assert column[1] == [{"tag": "b", "weight": 1.0, "support": 0}]  # the weight of others


def test_at_reads_unsorted_and_empty_matrices() -> None:
    matrix = sp.csr_matrix((np.array([5.0, 4.0]), np.array([2, 0]), np.array([0, 2, 2])), shape=(2, 3))
    assert at(matrix, np.array([0, 0, 0, 1]), np.array([0, 1, 2, 2])).tolist() == [4, 0, 5, 0]
    assert at(sp.csr_matrix((2, 3)), np.array([1]), np.array([2])).tolist() == [0]


def window(*counts: list[int], events: list[int]) -> Window:
    return Window(sp.csr_matrix(np.array(counts, dtype=np.float32)), np.array(events))


def test_changes_by_hand() -> None:
    """Ten events before, five of each tag; five lately: (5 + 3 / 2) / 13 = 1/2 is usual, so 2.5 events are expected.

    Two standard deviations are 2 sqrt(5 / 4) = 2.24: five and none are changes, four and one are not.
    """
    before = window([5, 5], [5, 5], events=[10, 10])
    lately = window([0, 5], [1, 4], events=[5, 5])
    column = changes(before, lately, np.array([0.5, 0.5], dtype=np.float32), ["a", "b"]).to_pylist()
    assert column == [[{"tag": "b", "before": 0.5, "lately": 1.0}, {"tag": "a", "before": 0.5, "lately": 0.0}], []]


def test_one_event_of_a_new_tag_is_no_change_two_are_and_a_short_past_has_none() -> None:
    before = window([9, 0], [9, 0], [4, 0], events=[9, 9, 4])
    lately = window([4, 1], [3, 2], [0, 5], events=[5, 5, 5])
    column = changes(before, lately, np.array([0.9, 0.01], dtype=np.float32), ["a", "b"])
    assert rows(column) == [[], ["b", "a"], []]
    assert column.to_pylist()[1][0]["lately"] == pytest.approx(0.4)


def test_the_farthest_changes_are_reported() -> None:
    """Eight tags rise by 1 to 8 events from nothing; three are reported, the largest first."""
    before, lately = window([0] * 8, events=[100]), window(list(range(1, 9)), events=[50])
    column = changes(before, lately, np.full(8, 1e-6, dtype=np.float32), list("abcdefgh"))
    assert rows(column) == [["h", "g", "f"]]

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.tables.interests import interests, leading, normalised, population_shares, tagged


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

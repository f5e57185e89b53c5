"""Histories as arrays: what was turned down, and how much events weigh."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.data.item_codes import with_codes

ITEMS = pa.table({"item_id": list("abcdef")})
LOG = pa.table(
    {
        "user_id": ["u", "v"],
        "item_codes": [[0, 1, 2], [3]],
        "weights": pa.array([[1, 1, 5], [1]], type=pa.list_(pa.float32())),
    }
)
NEGATIVE_FEEDBACK = pa.table(
    {
        "user_id": ["u", "u", "u", "v", "nobody"],
        "item_id": ["e", "b", "c", "gone", "a"],
        "position": pa.array([3, 1, 3, 0, 0], type=pa.int32()),
    }
)


def describe(sequences: Sequences) -> list[list[str]]:
    found = sequences.negative_items()
    return [["abcdef"[code] for code in found[user]] for user in range(len(found))]


@pytest.fixture
def log() -> Sequences:
    return from_table(LOG, ITEMS, pa.chunked_array([["v", "new", "u"]]), negative_feedback=NEGATIVE_FEEDBACK)


def test_an_item_is_turned_down_until_it_is_chosen_again(log: Sequences) -> None:
    """b was turned down after the first event and chosen as the second; c after it was chosen."""
    assert describe(log) == [[], [], ["c", "e"]]
    assert describe(log.select([2, 0])) == [["c", "e"], []]


def test_shorter_histories_know_only_what_was_turned_down_by_then(log: Sequences) -> None:
    assert describe(log.without_last()) == [[], [], []]
    assert describe(log.without_last(2)) == describe(log.head(1)) == [[], [], ["b"]]
    assert describe(log.without_last(3)) == [[], [], []]


def test_lists_may_not_have_what_was_turned_down_or_seen(log: Sequences) -> None:
    def pairs(*, seen: bool) -> set[tuple[int, str]]:
        users, codes = log.excluded(seen=seen)
        return {(user, "abcdef"[code]) for user, code in zip(users.tolist(), codes.tolist(), strict=True)}

    assert pairs(seen=False) == {(2, "c"), (2, "e")}
    assert pairs(seen=True) == {(0, "d"), (2, "a"), (2, "b"), (2, "c"), (2, "e")}


def test_weights_count_in_the_matrix_and_follow_their_events(log: Sequences) -> None:
    np.testing.assert_allclose(log.matrix().toarray()[2], [1, 1, 5, 0, 0, 0])
    np.testing.assert_allclose(log.matrix(decay=0.5).toarray()[2], [0.25, 0.5, 5, 0, 0, 0])
    np.testing.assert_allclose(log.without_last().matrix().toarray()[2], [1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(log.select([2]).tail(1).matrix().toarray()[0], [0, 0, 5, 0, 0, 0])
    np.testing.assert_array_equal(log.counts(), [1, 1, 1, 1, 0, 0])


def test_histories_need_no_users() -> None:
    found = from_table(LOG.select(["item_codes"]), ITEMS)
    assert found.lengths.tolist() == [3, 1] and found.weights is None


def test_weights_of_one_and_no_refusals_are_nothing_to_know() -> None:
    plain = LOG.set_column(2, "weights", pa.array([[1, 1, 1], [1]], type=pa.list_(pa.float32())))
    found = from_table(plain, ITEMS, negative_feedback=NEGATIVE_FEEDBACK.slice(0, 0))
    assert found.weights is None and found.negative is None and describe(found) == [[], []]


def test_codes_are_rows_of_the_catalogue() -> None:
    lists = pa.table({"item_ids": [["x"], ["f", "a"], [], ["c"]]}).slice(1)
    assert with_codes(lists, ITEMS).column("item_codes").to_pylist() == [[5, 0], [], [2]]
    with pytest.raises(UpstreamError, match="not in clean/items"):
        with_codes(pa.table({"item_ids": [["a", "x"]]}), ITEMS)
    with pytest.raises(UpstreamError, match="not in clean/items"):
        from_table(LOG, ITEMS.slice(0, 3))


def test_without_an_item_all_its_events_go_and_negative_feedback_keeps_its_place() -> None:
    negative = sp.csr_matrix((np.array([1, 3, 5]), (np.array([0, 0, 0]), np.array([4, 5, 6]))), shape=(2, 7))
    log = Sequences(
        np.array([1, 2, 1, 3, 1, 2], dtype=np.int32),
        np.array([0, 4, 6]),
        7,
        times=np.arange(6),
        weights=np.arange(1, 7, dtype=np.float32),
        negative=negative,
    )
    found = log.without(np.array([0]), np.array([1], dtype=np.int32))
    assert [found[user].tolist() for user in range(2)] == [[2, 3], [1, 2]]
    assert found.times is not None and found.times.tolist() == [1, 3, 4, 5]
    assert found.weights is not None and found.weights.tolist() == [2, 4, 5, 6]
    # turned down at the start, after one of the first two events, and at the end
    assert found.negative is not None and found.negative.toarray()[0, 4:].tolist() == [1, 2, 3]
    assert log.negative is negative and negative.toarray()[0, 4:].tolist() == [1, 3, 5]

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from llmrec_cli.core.columns import EVIDENCE, TAGS
from llmrec_cli.tables import reasons
from llmrec_cli.tables.lists import OF_ALL, OF_SEGMENT
from llmrec_cli.tables.reasons import EVERYONE, FOLLOWED, INTEREST, SEGMENT, SIMILAR, TOGETHER, Evidence, Wording
from llmrec_cli.tables.sequences import Sequences


def evidence(*pieces: tuple[int, int, int, int, float]) -> Evidence:
    rows, kinds, items, tags, weights = (list(column) for column in zip(*pieces, strict=True)) if pieces else [[]] * 5
    return Evidence(
        np.array(rows, dtype=np.int64),
        np.array(kinds, dtype=np.int8),
        np.array(items, dtype=np.int32),
        np.array(tags, dtype=np.int64),
        np.array(weights, dtype=np.float32),
    )


def test_pairs_are_the_newest_different_events_but_not_the_item_itself() -> None:
    log = Sequences(np.array([3, 1, 3, 2], dtype=np.int32), np.array([0, 3, 4]), 5)
    rows, events = reasons.event_pairs(log, np.array([0, 0, 1]), np.array([4, 1, 2], dtype=np.int32))
    assert list(zip(rows.tolist(), events.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 3)]


def test_only_the_newest_events_are_asked() -> None:
    log = Sequences(np.arange(30, dtype=np.int32), np.array([0, 30]), 40)
    _, events = reasons.event_pairs(log, np.array([0]), np.array([35], dtype=np.int32))
    assert events.tolist() == list(range(10, 30))


def test_the_strongest_events_speak_and_the_kind_of_the_strategy_is_preferred() -> None:
    rows, events = np.array([0, 0, 0, 0, 1]), np.array([1, 2, 3, 4, 1], dtype=np.int32)
    support = {
        FOLLOWED: np.array([0.1, 0.5, 0.2, 0.3, 0.0], dtype=np.float32),
        SIMILAR: np.array([0.9, 0.2, 0.1, 0.0, 0.1], dtype=np.float32),
    }
    found = reasons.speaking_events(rows, events, support, np.array([FOLLOWED, FOLLOWED]))
    # 2 x 0.5 beats 0.9; weak similarity counts for nothing, and row 1 has nothing to say
    assert found.items.tolist() == [2, 1, 4]
    assert found.kinds.tolist() == [FOLLOWED, SIMILAR, FOLLOWED]
    assert found.weights.tolist() == pytest.approx([0.5, 0.9, 0.3])
    assert found.first(2).tolist() == [0, -1]


def test_interests_that_user_and_item_share() -> None:
    users = sp.csr_matrix(np.array([[0.2, 0.7, 0.1], [0, 0, 1]], dtype=np.float32))
    items = sp.csr_matrix(np.array([[1, 1, 1], [1, 0, 0]], dtype=np.float32))
    found = reasons.shared_interests(users, items, np.array([0, 1, 1]), np.array([0, 0, 1], dtype=np.int32))
    assert list(zip(found.rows.tolist(), found.tags.tolist(), strict=True)) == [(0, 1), (0, 0), (1, 2)]


def test_interest_matrix_leaves_unknown_tags_out() -> None:
    column = pa.chunked_array([pa.array([[{"tag": "b", "weight": 0.5}, {"tag": "?", "weight": 0.5}], []], type=TAGS)])
    assert reasons.interest_matrix(column, pa.array(["a", "b"])).toarray().tolist() == [[0, 0.5], [0, 0]]


def test_filled_rows_speak_of_the_segment_or_of_everyone() -> None:
    found = reasons.popularity(
        np.array([0, OF_SEGMENT, OF_ALL]), np.array([7, 8, 9]), np.array([1, 0.5, 0.2], np.float32)
    )
    assert found.rows.tolist() == [1, 2]
    assert found.kinds.tolist() == [SEGMENT, EVERYONE] and found.tags.tolist() == [8, -1]


def test_parts_come_together_by_row_and_three_at_most() -> None:
    one = evidence((0, FOLLOWED, 1, -1, 0.9), (0, FOLLOWED, 2, -1, 0.8), (1, FOLLOWED, 3, -1, 0.7))
    two = evidence((0, INTEREST, -1, 0, 0.5), (0, INTEREST, -1, 1, 0.4), (1, INTEREST, -1, 0, 0.3))
    both = reasons.together(one, two)
    assert both.rows.tolist() == [0, 0, 0, 1, 1]
    assert both.items.tolist() == [1, 2, -1, 3, -1]


def test_often_needs_enough_people_and_a_share_of_them() -> None:
    choosers = np.zeros((3, 100), dtype=np.float32)
    choosers[0, :60], choosers[1, :7], choosers[2, 50:100] = 1, 1, 1
    ask = np.array([0, 0, 1]), np.array([2, 1, 0])
    assert reasons.often(sp.csr_matrix(choosers), *(each.astype(np.int32) for each in ask)).tolist() == [
        True,
        True,
        True,
    ]
    assert not reasons.often(sp.csr_matrix(choosers), np.array([1], np.int32), np.array([2], np.int32))[0]


def test_every_kind_of_evidence_has_its_sentence() -> None:
    wording = Wording(["Tea", "Cup"], ["warm", "dry", "in France"])
    found = evidence(
        (0, FOLLOWED, 0, -1, 1), (1, FOLLOWED, 0, -1, 1), (2, TOGETHER, 1, -1, 1), (3, SIMILAR, 1, -1, 1),
        (4, INTEREST, -1, 0, 1), (4, INTEREST, -1, 1, 1), (5, SEGMENT, -1, 2, 1), (6, EVERYONE, -1, -1, 1),
    )  # fmt: skip
    usual = np.array([True, False, True, False, False, False, False, False, False])
    strategies = ["transitions"] * 7 + ["sequence", "another"]
    assert wording.sentences(found, strategies, usual) == [
        "Because you chose “Tea”: people who did often go on to this.",
        "Because you chose “Tea”, which has led others to this.",
        "People who chose “Cup”, as you did, often choose this too.",
        "Similar to “Cup”, which you chose.",
        "Fits your interest in warm and dry.",
        "Popular with people in France.",
        "One of the items that people choose most.",
        "Follows from the order of your latest choices.",
        "Suits the pattern of your choices as a whole.",
    ]


def test_a_quoted_title_is_one_short_line_with_one_pair_of_marks() -> None:
    assert reasons.quoted("A “b”\n  c") == "“A 'b' c”"
    long = reasons.quoted("word " * 50)
    assert len(long) <= reasons.LONGEST_TITLE + 2 and long.endswith("…”")


def test_the_column_is_what_recommendations_declare() -> None:
    found = evidence((0, FOLLOWED, 1, -1, 0.5), (2, INTEREST, -1, 0, 0.25))
    column = found.column(3, pa.array(["x", "y"]), pa.array(["warm"]))
    assert column.type == EVIDENCE
    assert column.to_pylist() == [
        [{"kind": "followed", "item_id": "y", "tag": None, "weight": 0.5}],
        [],
        [{"kind": "interest", "item_id": None, "tag": "warm", "weight": 0.25}],
    ]


def test_no_evidence_at_all() -> None:
    nothing = reasons.together(
        reasons.speaking_events(np.array([], int), np.array([], np.int32), {}, np.array([0])), evidence()
    )
    assert nothing.column(2, pa.array(["x"]), pa.array(["t"])).to_pylist() == [[], []]

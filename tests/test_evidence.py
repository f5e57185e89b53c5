from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from llmrec_cli.core.columns import EVIDENCE, TAGS
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.lists import evidence
from llmrec_cli.lists.build import OF_ALL, OF_SEGMENT
from llmrec_cli.lists.evidence import EVERYONE, FOLLOWED, INTEREST, SEGMENT, SIMILAR, TOGETHER, Evidence
from llmrec_cli.lists.wording import CHINESE, LONGEST_TITLE, Wording, led, quoted, sentences_in
from llmrec_cli.ranking import retrievers
from llmrec_cli.writing.claims import People

KINDS_OF = {name: retrievers.load_class(name).evidence for name in retrievers.RETRIEVERS}


def of_pieces(*pieces: tuple[int, int, int, int, float], often: list[bool] | None = None) -> Evidence:
    rows, kinds, items, tags, weights = (list(column) for column in zip(*pieces, strict=True)) if pieces else [[]] * 5
    return Evidence(
        np.array(rows, dtype=np.int64),
        np.array(kinds, dtype=np.int8),
        np.array(items, dtype=np.int32),
        np.array(tags, dtype=np.int64),
        np.array(weights, dtype=np.float32),
        np.array(often if often is not None else [False] * len(rows), dtype=bool),
    )


def test_pairs_are_the_newest_different_events_but_not_the_item_itself() -> None:
    log = Sequences(np.array([3, 1, 3, 2], dtype=np.int32), np.array([0, 3, 4]), 5)
    rows, events = evidence.event_pairs(log, np.array([0, 0, 1]), np.array([4, 1, 2], dtype=np.int32))
    assert list(zip(rows.tolist(), events.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 3)]


def test_only_the_newest_events_are_asked() -> None:
    log = Sequences(np.arange(30, dtype=np.int32), np.array([0, 30]), 40)
    _, events = evidence.event_pairs(log, np.array([0]), np.array([35], dtype=np.int32))
    assert events.tolist() == list(range(10, 30))


def test_the_strongest_events_speak_as_far_as_they_carry_the_row() -> None:
    rows, events = np.array([0, 0, 0, 0, 1]), np.array([1, 2, 3, 4, 1], dtype=np.int32)
    support = {
        FOLLOWED: np.array([0.1, 0.5, 0.2, 0.3, 0.0], dtype=np.float32),
        SIMILAR: np.array([0.9, 0.2, 0.1, 0.0, 0.1], dtype=np.float32),
    }
    worth = np.array([[2, 0, 1], [2, 0, 1]], dtype=np.float32)
    found = evidence.event_evidence(rows, events, support, worth)
    # 2 x 0.5 beats 0.9; weak similarity counts for nothing, and row 1 has nothing to say
    assert found.items.tolist() == [2, 1, 4, 3]
    assert found.kinds.tolist() == [FOLLOWED, SIMILAR, FOLLOWED, FOLLOWED]
    assert found.weights.tolist() == pytest.approx([0.5, 0.9, 0.3, 0.2])
    assert found.first(2).tolist() == [0, -1]
    alone = evidence.event_evidence(rows, events, support, np.array([[0, 0, 1], [0, 0, 1]], dtype=np.float32))
    assert alone.items.tolist() == [1]


def test_a_kind_is_worth_what_its_sources_add_to_the_score() -> None:
    sources = {name: KINDS_OF[name] for name in ("sequence", "transitions", "itemknn", "content", "popularity")}
    shares = np.array([[1, 1, 4, -2, 9], [-np.inf, 0, 0, 0, 1]], dtype=np.float32)
    worth = evidence.worths(shares, ["itemknn", "popularity"], sources)
    assert worth.tolist() == [[0.5, evidence.PREFERENCE, 0], [0, 0, 0]]


def log(*histories: list[tuple[int, int]], n_items: int = 4, timed: bool = True) -> Sequences:
    """Histories of (item, second)."""
    flat = [event for history in histories for event in history]
    codes, times = (np.array([event[n] for event in flat]) for n in (0, 1))
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    return Sequences(codes.astype(np.int32), offsets, n_items, times if timed else None)


def verified(histories: Sequences, kind: int, tags: np.ndarray | None = None) -> Evidence:
    """What holds of the evidence that user 0 chose item 0, for item 1."""
    alike = sp.csr_matrix(np.zeros((4, 2)) if tags is None else tags, dtype=np.float32)
    of = of_pieces((0, kind, 0, -1, 0.9))
    return evidence.verified(of, np.array([0]), np.array([1], dtype=np.int32), People.of(histories), alike)


def test_that_people_went_on_needs_others_who_did_strictly_later() -> None:
    me, forth, back, at_once = [(0, 9)], [(0, 1), (1, 2)], [(1, 1), (0, 2)], [(0, 5), (1, 5)]
    assert verified(log(me, forth, forth), FOLLOWED).kinds.tolist() == [FOLLOWED]
    assert verified(log(me, forth, back), FOLLOWED).kinds.tolist() == [TOGETHER]
    assert verified(log(me, at_once, at_once), FOLLOWED).kinds.tolist() == [TOGETHER]
    assert verified(log(me, forth, forth, timed=False), FOLLOWED).kinds.tolist() == [TOGETHER]
    assert len(verified(log(me, forth), FOLLOWED)) == 0
    assert len(verified(log(forth, forth), TOGETHER)) == 0  # the user does not count as another


def test_often_needs_five_people_in_that_order_and_a_tenth() -> None:
    me, forth, back = [(0, 9)], [(0, 1), (1, 2)], [(1, 1), (0, 2)]
    assert verified(log(me, *[forth] * 5, *[me] * 44), FOLLOWED).often.tolist() == [True]
    assert verified(log(me, *[forth] * 5, *[me] * 45), FOLLOWED).often.tolist() == [False]
    assert verified(log(me, *[forth] * 4, *[back] * 9), FOLLOWED).often.tolist() == [False]
    assert verified(log(me, *[forth] * 4, *[back] * 9), TOGETHER).often.tolist() == [True]


def test_items_are_alike_by_the_rarest_tag_that_both_have() -> None:
    tags = np.array([[1, 2], [1, 2], [0, 2], [0, 0]])
    found = verified(log([(0, 1)]), SIMILAR, tags)
    assert found.tags.tolist() == [1] and found.kinds.tolist() == [SIMILAR]
    chosen = log([(0, 1)], [(1, 1)])
    assert len(verified(chosen, SIMILAR, np.array([[1, 0], [0, 2], [0, 0], [0, 0]]))) == 0


def test_an_item_that_nobody_has_chosen_is_like_another_without_a_tag() -> None:
    found = verified(log([(0, 1)]), SIMILAR)
    assert found.tags.tolist() == [-1] and found.kinds.tolist() == [SIMILAR]
    assert len(verified(log([(0, 1)], [(1, 1)]), SIMILAR)) == 0  # somebody has chosen it: only a tag may say so
    words = Wording({}, ["Red cup", "Blue cup"], [], np.array([3, 0]), np.zeros(2, dtype=bool), True)
    assert words.sentences(found, ["content"], [1]) == ["New, like “Red cup”, which you chose."]


def test_order_is_that_of_the_first_choices() -> None:
    people = People.of(log([(0, 5), (1, 7), (0, 9)], [(1, 1), (0, 2), (1, 3)]))
    both, later = people.of_both(np.array([0, 1]), np.array([1, 0]), np.array([0, 0]))
    assert both.tolist() == [1, 1] and later.tolist() == [0, 0]  # less the user, who chose both
    people = People.of(log([(2, 1)], [(0, 5), (1, 7), (0, 9)], [(1, 1), (0, 2), (1, 3)]))
    assert [each.tolist() for each in people.of_both(np.array([0]), np.array([1]), np.array([0]))] == [[2], [1]]


def test_interests_that_user_and_item_share() -> None:
    users = sp.csr_matrix(np.array([[0.2, 0.7, 0.1], [0, 0, 1]], dtype=np.float32))
    items = sp.csr_matrix(np.array([[1, 1, 1], [1, 0, 0]], dtype=np.float32))
    found = evidence.shared_interests(users, items, np.array([0, 1, 1]), np.array([0, 0, 1], dtype=np.int32))
    assert list(zip(found.rows.tolist(), found.tags.tolist(), strict=True)) == [(0, 1), (0, 0), (1, 2)]


def test_interest_matrix_leaves_unknown_tags_out() -> None:
    column = pa.chunked_array([pa.array([[{"tag": "b", "weight": 0.5}, {"tag": "?", "weight": 0.5}], []], type=TAGS)])
    assert evidence.interest_matrix(column, pa.array(["a", "b"])).toarray().tolist() == [[0, 0.5], [0, 0]]


def test_rows_that_popularity_carries_speak_of_the_segment_or_of_everyone() -> None:
    found = evidence.popularity(
        np.array([0, OF_SEGMENT, OF_ALL, 3]),
        ["sequence", "segment-popularity", "popularity", "popularity"],
        np.array([7, 8, 9, 9]),
        np.array([1, 0.5, 0.2, 0.1], np.float32),
    )
    assert found.rows.tolist() == [1, 2, 3]
    assert found.kinds.tolist() == [SEGMENT, EVERYONE, EVERYONE] and found.tags.tolist() == [8, -1, -1]


def test_parts_come_together_by_row_and_three_at_most() -> None:
    one = of_pieces((0, FOLLOWED, 1, -1, 0.9), (0, FOLLOWED, 2, -1, 0.8), (1, FOLLOWED, 3, -1, 0.7))
    two = of_pieces((0, INTEREST, -1, 0, 0.5), (0, INTEREST, -1, 1, 0.4), (1, INTEREST, -1, 0, 0.3))
    both = evidence.together(one, two)
    assert both.rows.tolist() == [0, 0, 0, 1, 1]
    assert both.items.tolist() == [1, 2, -1, 3, -1]


def test_every_kind_of_evidence_has_its_sentence() -> None:
    people, foremost = np.array([9, 1, 0, 2000]), np.array([True, False, False, False])
    wording = Wording(KINDS_OF, ["Tea", "Cup"], ["warm", "dry", "Ignore this"], people, foremost, timed=True)
    found = of_pieces(
        (0, FOLLOWED, 0, -1, 1), (1, FOLLOWED, 0, -1, 1), (2, TOGETHER, 1, -1, 1), (3, TOGETHER, 1, -1, 1),
        (4, SIMILAR, 1, 2, 1), (5, INTEREST, -1, 0, 1), (5, INTEREST, -1, 1, 1), (6, SEGMENT, -1, 2, 1),
        (7, EVERYONE, -1, -1, 1), (8, SEGMENT, -1, 2, 1), (9, EVERYONE, -1, -1, 1),
        often=[True, False, True, *[False] * 8],
    )  # fmt: skip
    items = [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0]
    strategies = ["transitions"] * 10 + ["sequence", "ease", "tfidf", "another"]
    sentences = wording.sentences(found, strategies, items)
    assert sentences == [
        "Because you chose “Tea”: people who did often chose this later.",
        "Because you chose “Tea”: others who did chose this later.",
        "People who chose “Cup”, as you did, often chose this too.",
        "Others who chose “Cup”, as you did, chose this too.",
        "Like “Cup”, which you chose, it is tagged “Ignore this”.",
        "Fits your interest in “warm” and “dry”.",
        "One of the items that the most people chose.",
        "Chosen by one person.",
        "Nobody has chosen it yet.",
        "Chosen by 2,000 people.",
        "Picked by a model that reads your choices in order.",
        "Picked by a model that compares your choices with those of others.",
        "Picked by a model that compares what it is with what you chose.",
        "Picked by a model that reads what you chose.",
    ]


def test_reasons_are_in_the_language_of_the_titles() -> None:
    assert sentences_in("de") == sentences_in("en") and sentences_in("zh") == CHINESE
    people, foremost = np.array([9, 0, 2000]), np.array([True, False, False])
    wording = Wording(KINDS_OF, ["茶", "杯子", "碗"], ["热", "干"], people, foremost, timed=True, say=CHINESE)
    found = of_pieces(
        (0, FOLLOWED, 0, -1, 1), (1, SIMILAR, 1, 1, 1), (2, SIMILAR, 0, 1, 1), (3, INTEREST, -1, 0, 1),
        (3, INTEREST, -1, 1, 1), (4, EVERYONE, -1, -1, 1),
        often=[True, *[False] * 5],
    )  # fmt: skip
    assert wording.sentences(found, ["ease"] * 6, [0, 0, 1, 0, 2, 0]) == [
        "因为您选过“茶”：选过它的人，后来常选这个。",
        "和您选过的“杯子”一样，带有标签“干”。",
        "还没有人选过，但与您选过的“茶”相近。",
        "符合您对“热”和“干”的兴趣。",
        "有 2,000 个人选过。",
        "模型比较您与其他人的选择后选出。",
    ]
    assert led(CHINESE.pinned, CHINESE.new) == "由运营方置顶。还没有人选过。"
    assert led("Placed first.", "Chosen by one person.") == "Placed first. Chosen by one person."


def test_without_times_no_sentence_speaks_of_order() -> None:
    wording = Wording(KINDS_OF, ["Tea"], [], np.array([9]), np.array([True]), timed=False)
    assert wording.sentences(of_pieces(), ["sequence"], [0]) == ["Picked by a model that reads what you chose."]


def test_a_quoted_title_is_one_short_line_with_one_pair_of_marks() -> None:
    assert quoted("A “b”\n  c") == "“A 'b' c”"
    long = quoted("word " * 50)
    assert len(long) <= LONGEST_TITLE + 2 and long.endswith("…”")


def test_the_column_is_what_recommendations_declare() -> None:
    found = of_pieces((0, FOLLOWED, 1, -1, 0.5), (2, INTEREST, -1, 0, 0.25))
    column = found.column(3, pa.array(["x", "y"]), pa.array(["warm"]))
    assert column.type == EVIDENCE
    assert column.to_pylist() == [
        [{"kind": "followed", "item_id": "y", "tag": None, "weight": 0.5}],
        [],
        [{"kind": "interest", "item_id": None, "tag": "warm", "weight": 0.25}],
    ]


def test_no_evidence_at_all() -> None:
    nothing = evidence.together(
        evidence.event_evidence(np.array([], int), np.array([], np.int32), {}, np.zeros((1, 3), np.float32)),
        of_pieces(),
    )
    assert nothing.column(2, pa.array(["x"]), pa.array(["t"])).to_pylist() == [[], []]

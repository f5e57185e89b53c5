from __future__ import annotations

import numpy as np
import pytest

from llmrec_cli import pipeline
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.data.catalogue import group_numbers
from llmrec_cli.lists.constraints import (
    Constraints,
    allowed_items,
    broken,
    check_consistency,
    choose,
    overlap,
    title_groups,
)

BOTH = ("train-ranker", "recommend")


def rules(n: int, **given: object) -> Constraints:
    return Constraints(np.arange(n), np.full(n, -1), **given)  # type: ignore[arg-type]


def picked(items: list[int], relevance: list[float], k: int, held: Constraints) -> list[int]:
    codes = np.array([items], dtype=np.int32)
    columns = choose(codes, np.array([relevance], dtype=np.float32), k, held)[0]
    return [int(codes[0, column]) if column >= 0 else -1 for column in columns]


def test_the_best_come_first_and_the_first_of_equals() -> None:
    assert picked([3, 1, 2, 0], [0.5, 1.0, 0.5, 0.1], 3, rules(4)) == [1, 3, 2]


def test_a_short_row_ends_in_gaps() -> None:
    assert picked([2, -1, -1], [1.0, 9.0, 9.0], 3, rules(3)) == [2, -1, -1]


def test_a_title_is_shown_once() -> None:
    held = Constraints(title_groups(["Blue Mug", "blue  mug!", "Red Mug", "", ""]), np.full(5, -1))
    assert picked([0, 1, 2, 3, 4], [5, 4, 3, 2, 1], 5, held) == [0, 2, 3, 4, -1]


def test_titles_differ_by_more_than_case_spacing_and_punctuation() -> None:
    groups = title_groups(["Café  noir", "cafe\u0301 NOIR.", "Café blanc", "", ""])
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] != groups[4]


def test_at_most_so_many_of_a_category_and_no_cap_where_there_is_none() -> None:
    categories = group_numbers(["a", "a", "a", "b", "", ""])
    held = Constraints(np.arange(6), categories, max_per_category=1)
    assert picked([0, 1, 2, 3, 4, 5], [6, 5, 4, 3, 2, 1], 6, held) == [0, 3, 4, 5, -1, -1]


def test_diversity_prefers_what_is_unlike_the_list() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert picked([0, 1, 2], [1.0, 0.9, 0.5], 2, rules(3)) == [0, 1]
    assert picked([0, 1, 2], [1.0, 0.9, 0.5], 2, rules(3, diversity=0.5, vectors=vectors)) == [0, 2]


@pytest.mark.parametrize(
    ("allow", "deny", "wanted"),
    [([], [], [1, 1, 1]), (["a", "c"], [], [1, 0, 1]), ([], ["c"], [1, 1, 0]), (["a", "c"], ["c"], [1, 0, 0])],
)
def test_allow_and_deny(allow: list[str], deny: list[str], wanted: list[int]) -> None:
    assert allowed_items(["a", "b", "c"], allow, deny).tolist() == [bool(each) for each in wanted]


def test_rules_that_leave_no_item_are_reported() -> None:
    with pytest.raises(DataError, match="leave no item"):
        allowed_items(["a", "b"], ["a"], ["a"])


def test_every_broken_promise_is_counted() -> None:
    held = Constraints(np.array([0, 0, 1, 2]), np.array([5, 5, 5, -1]), max_per_category=1)
    lists = np.array([[0, 1, 3], [2, 2, -1]], dtype=np.int32)
    found = broken(lists, np.array([0 * 4 + 3]), np.array([True, True, False, True]), held)
    assert found == {
        "outside the catalogue": 0,
        "repeated": 1,
        "same title": 2,
        "seen or with negative feedback": 1,
        "not allowed": 2,
        "over a cap": 2,
    }
    good = broken(np.array([[0, 3], [3, -1]], dtype=np.int32), np.array([2]), np.ones(4, dtype=bool), held)
    assert not any(good.values())


def test_overlap_is_the_shared_part_of_two_lists() -> None:
    same = np.tile(np.arange(4, dtype=np.int32), (5, 1))
    assert overlap(same, 1) == 1.0
    assert overlap(np.arange(20, dtype=np.int32).reshape(5, 4), 1) == 0.0
    assert overlap(np.array([[0, 1], [1, 2]], dtype=np.int32), 1) == 0.5
    assert overlap(same[:1], 1) == 0.0


@pytest.mark.parametrize(("repeat", "filter_seen"), [(True, False), (False, True), (False, False)])
def test_repeats_and_the_filter_of_seen_items_agree(repeat: bool, filter_seen: bool) -> None:
    check_consistency(repeat, filter_seen)
    section = {"train-ranker": {"candidates": {"repeat": repeat}}, "recommend": {"filter_seen": filter_seen}}
    assert pipeline.check(Settings(section), BOTH)["recommend"].filter_seen is filter_seen


def test_repeats_that_the_lists_would_leave_out_are_reported_before_the_work() -> None:
    section = {"train-ranker": {"candidates": {"repeat": True}}}
    with pytest.raises(SettingsError, match=r"recommend\.filter_seen"):
        pipeline.check(Settings(section), BOTH)
    pipeline.check(Settings(section), ["train-ranker"])
    section |= {
        "clean": {"repeats": "first", "interactions": {"path": "log.csv", "user": "u", "item": "i"}},
        "recommend": {"filter_seen": False},
    }
    with pytest.raises(SettingsError, match=r"clean\.repeats"):
        pipeline.check(Settings(section))

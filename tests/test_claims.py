from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.writing.claims import People, above, leanings, lower_bound


def test_the_lower_bound_by_hand() -> None:
    """Wilson's interval of 8 in 10 with z = 1.6449, from the closed form; nothing for no events."""
    z = 1.6449
    middle, spread = 0.8 + z**2 / 20, z * np.sqrt(0.16 / 10 + z**2 / 400)
    assert lower_bound([8, 0, 0], [10, 10, 0]).tolist() == pytest.approx([(middle - spread) / (1 + z**2 / 10), 0, 0])
    assert lower_bound([1], [1])[0] < 0.3  # one event says little


def test_a_share_lies_above_where_chance_does_not_explain_it_and_the_tag_reports_people_apart() -> None:
    counts, events = np.array([3, 2, 5, 50, 50, 90]), np.array([10, 2, 10, 100, 100, 90])
    usual = np.array([0.1, 0.1, 0.4, 0.4, 0.49, 0.85])
    assert above(counts, events, usual).tolist() == [True, False, False, True, False, False]


def test_leanings_leave_out_who_has_less_than_others_and_what_everybody_has() -> None:
    """Item 0 has tag a, item 1 has a and b, item 2 has c, all have d. The last user has one event of b."""
    tags = sp.csr_matrix(np.array([[1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 1, 1]], dtype=np.float32))
    histories = sp.csr_matrix(np.array([[20, 0, 0], [10, 10, 0], [0, 0, 20], [3, 1, 30]], dtype=np.float32))
    assert leanings(histories, tags).toarray().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_the_foremost_are_a_tenth_of_what_was_chosen_and_equals_do_not_widen_it() -> None:
    chosen = [[0, 1]] * 5 + [[item] for item in range(2, 20)]
    codes = np.concatenate([np.array(each, dtype=np.int32) for each in chosen])
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in chosen])])
    people = People.of(Sequences(codes, offsets, 40))
    assert np.flatnonzero(people.foremost()).tolist() == [0, 1]
    assert people.counts[:3].tolist() == [5, 5, 1] and not people.timed


def test_where_all_are_chosen_alike_none_is_foremost() -> None:
    people = People.of(Sequences(np.tile(np.arange(4, dtype=np.int32), 3), np.array([0, 4, 8, 12]), 4))
    assert not people.foremost().any()


@pytest.mark.parametrize("timed", [True, False])
def test_counts_of_one_item_are_those_of_its_pairs(timed: bool) -> None:
    """30 users choose 4 of 9 items at times that are equal now and then; the last one chooses nothing else than 9."""
    rng = np.random.default_rng(4)
    codes = np.append(rng.integers(0, 9, 120), 9).astype(np.int32)
    times = np.append(np.sort(rng.integers(0, 6, (30, 4)), axis=1).ravel(), 9)
    people = People.of(Sequences(codes, np.append(np.arange(0, 121, 4), 121), 10, times if timed else None))
    others = np.array([5, 0, 3, 1], dtype=np.int32)
    both, later = people.of_item(2, others)
    pairs = people.of_both(np.full(4, 2), others.astype(np.int64), np.full(4, 30))
    assert both.tolist() == pairs[0].tolist() and later.tolist() == pairs[1].tolist()
    assert both.min() > 0 and (later.max() > 0) == timed

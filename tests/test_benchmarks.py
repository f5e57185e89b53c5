"""The measuring of the benchmarks: what they print must mean what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import cold, ranking, speed, tables
from benchmarks.data_sets import DATA_SETS
from llmrec_cli.tables.sequences import Sequences


def histories(*users: list[int], n_items: int) -> Sequences:
    codes = np.array([item for user in users for item in user], dtype=np.int32)
    return Sequences(codes, np.cumsum([0, *map(len, users)]), n_items)


def test_seen_items_are_left_out_of_the_filtered_ranking_only() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    asked = histories([0], [0, 3], n_items=4)
    ranks = ranking.target_ranks(lambda start, stop: scores[start:stop], asked, np.array([2, 0]), np.arange(4))
    assert ranks["unfiltered"].tolist() == [2, 3]
    assert ranks["filtered"].tolist() == [1, 2]  # a target that was seen is ranked all the same


def test_equal_scores_are_ordered_by_the_hash_of_the_id_and_not_by_the_row() -> None:
    ids = [str(i) for i in range(50)]
    ties = ranking.tie_order(ids)
    assert sorted(ties) == list(range(50)) and ties.tolist() != list(range(50))
    flat, targets = np.zeros((50, 50)), np.arange(50)
    alone = histories(*([] for _ in ids), n_items=50)
    ranks = ranking.target_ranks(lambda start, stop: flat[start:stop], alone, targets, ties)
    assert ranks["filtered"].tolist() == ties.tolist()
    again = ranking.tie_order(ids[::-1])
    assert again[::-1].tolist() == ties.tolist()  # a matter of the id alone


def test_a_score_that_is_no_number_is_not_ranked() -> None:
    with pytest.raises(ValueError, match="finite"):
        ranking.target_ranks(
            lambda start, stop: np.full((1, 3), np.nan), histories([0], n_items=3), np.array([1]), np.arange(3)
        )


def test_ranking_by_chance_is_what_counting_gives() -> None:
    ranks = np.arange(40)  # each place once
    found, expected = ranking.means(ranking.metrics(ranks)), ranking.at_random(np.array([40]))
    assert found == pytest.approx(expected)


def test_items_that_lose_their_events_are_a_share_and_depend_on_the_seed_alone() -> None:
    ids = [f"i{i}" for i in range(200)]
    chosen = cold.choose(ids, 0.1, 1)
    assert len(set(chosen)) == 20 and chosen == cold.choose(ids, 0.1, 1) != cold.choose(ids, 0.1, 2)


def test_peers_read_the_same_targets(tmp_path: Path) -> None:
    speed.write_sequences(histories([3, 1], [2], [], [0, 0, 4], n_items=5), tmp_path / "log")
    assert (tmp_path / "log").read_text() == "3 1\n0 0 4\n"


def test_every_data_set_has_its_settings() -> None:
    for data in DATA_SETS.values():
        assert data.settings.is_file() and "clean.interactions.path" in data.paths


def test_the_tables_of_the_pages_are_those_of_the_results() -> None:
    for path, written in ((tables.README, tables.filled), (tables.FRONT, tables.summarised)):
        page = path.read_text(encoding="utf-8")
        assert written(page) == page, "run `python -m benchmarks.tables`"

"""Who is kept, and the sentence that says whether it is better than popularity."""

from __future__ import annotations

import numpy as np

from llmrec_cli.data.metrics import MISS
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.leaderboard import Score, best, features_table, lines, rows, verdict, weights_in_words


def score(kind: str, name: str, hits: int, users: int = 200) -> Score:
    ranks = np.full(users, MISS, dtype=np.int64)
    ranks[:hits] = 0
    return Score(kind, name, ranks, 1.0)


def test_the_best_ranker_is_kept_though_a_source_did_better() -> None:
    scores = [score("retriever", "popularity", 20), score("ranker", "fusion", 60), score("ranker", "other", 60)]
    assert best([*scores, score("retriever", "oracle", 150)]).name == "fusion"
    table = rows(scores, best(scores), seed=1)
    assert [row["name"] for row in table if row["chosen"]] == ["fusion"] * 3
    assert all(row["low"] <= row["value"] <= row["high"] and row["n_users"] == 200 for row in table)
    told = lines(scores, best(scores), seed=1)
    assert sum("<- kept" in line for line in told) == 1
    assert told[-1].startswith("fusion beats popularity")


def test_the_verdict_claims_no_more_than_the_interval() -> None:
    popularity = score("retriever", "popularity", 50)
    assert "beats" in verdict(score("ranker", "a", 90), popularity, 1)
    assert "not shown" in verdict(score("ranker", "a", 51), popularity, 1)
    assert "is worse" in verdict(score("ranker", "a", 10), popularity, 1)
    assert verdict(score("ranker", "popularity", 50), popularity, 1).startswith("no ranker is better than popularity")


def test_the_weight_of_each_source_is_told_in_words() -> None:
    names = ("sequence.z", "als.z", "als.raw", "category.last", "itemknn.z")
    features = np.arange(10, dtype=np.float32).reshape(2, 5)
    candidates = Candidates(np.array([0, 2]), np.array([0, 1], dtype=np.int32), features, names, np.arange(2))
    table = features_table(candidates, np.array([600, 200, 100, 93, 7], dtype=np.float32))
    assert table.column("source").to_pylist() == ["sequence", "als", "als", "category", "itemknn"]
    np.testing.assert_allclose(table.column("share").to_numpy(), [0.6, 0.2, 0.1, 0.093, 0.007])
    assert table.column("mean").to_pylist() == [2.5, 3.5, 4.5, 5.5, 6.5]
    told = weights_in_words(table, "fusion")
    assert told == ["what fusion goes by: 60 % sequence, 30 % als, 9 % same category, 1 % the rest"]
    assert weights_in_words(features_table(candidates, np.zeros(5, dtype=np.float32)), "other") == []

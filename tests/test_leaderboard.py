"""Who is kept, and the sentence that says whether it is better than popularity."""

from __future__ import annotations

import numpy as np

from llmrec_cli.data.metrics import MISS
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.leaderboard import Score, best, compare, describe, describe_weights, features_table, report


def score(kind: str, name: str, hits: int, users: int = 200) -> Score:
    ranks = np.full(users, MISS, dtype=np.int64)
    ranks[:hits] = 0
    return Score(kind, name, ranks, 1.0)


def test_the_best_ranker_is_kept_though_a_source_did_better() -> None:
    scores = [score("retriever", "popularity", 20), score("ranker", "fusion", 60), score("ranker", "other", 60)]
    assert best([*scores, score("retriever", "oracle", 150)]).name == "fusion"
    table = report(scores, best(scores), seed=1)
    assert table.loc[table["chosen"], "name"].tolist() == ["fusion"] * 3
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert (table["n_users"] == 200).all()
    lines = describe(table)
    assert [line.split()[:2] for line in lines[1:3]] == [["retriever", "popularity"], ["ranker", "fusion"]]
    assert sum("<- kept" in line for line in lines) == 1 and "0.3000" in lines[2]
    assert compare(scores, best(scores), seed=1)[0].startswith("fusion beats popularity")
    assert compare(scores[1:], best(scores), seed=1) == []


def test_the_comparison_claims_no_more_than_the_interval() -> None:
    popularity = score("retriever", "popularity", 50)
    for hits, claim in ((90, "beats"), (51, "is not shown to beat"), (10, "is worse than")):
        assert compare([popularity], score("ranker", "a", hits), 1)[0].startswith(f"a {claim} popularity: ")
    (alike,) = compare([popularity], score("ranker", "popularity", 50), 1)
    assert alike.startswith("no ranker is better than popularity")


def test_the_weight_of_each_family_is_described() -> None:
    names = ("sequence.z", "als.z", "als.raw", "category.last", "itemknn.z")
    features = np.arange(10, dtype=np.float32).reshape(2, 5)
    candidates = Candidates(np.array([0, 2]), np.array([0, 1], dtype=np.int32), features, names, np.arange(2))
    table = features_table(candidates, np.array([600, 200, 100, 93, 7], dtype=np.float32))
    assert table.column("family").to_pylist() == ["sequence", "als", "als", "category", "itemknn"]
    np.testing.assert_allclose(table.column("share").to_numpy(), [0.6, 0.2, 0.1, 0.093, 0.007])
    assert table.column("mean").to_pylist() == [2.5, 3.5, 4.5, 5.5, 6.5]
    assert table.column("meaning").to_pylist()[2].startswith("the score as it is")
    assert describe_weights(table, "fusion") == [
        "what fusion goes by: 60 % sequence, 30 % als, 9 % same category, 1 % the rest"
    ]
    assert describe_weights(features_table(candidates, np.zeros(5, dtype=np.float32)), "other") == []

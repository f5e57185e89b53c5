"""Who is kept, and the sentence that says whether it is better than popularity."""

from __future__ import annotations

import numpy as np

from llmrec_cli.tables.leaderboard import Score, best, lines, rows, verdict
from llmrec_cli.tables.metrics import MISS


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

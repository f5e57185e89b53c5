from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.contributions import shares
from llmrec_cli.ranking.leaderboard import at_least_popularity
from llmrec_cli.ranking.rankers import Explains, load_class

SOURCES = ["near", "far", "noise"]


def lesson(n_users: int = 300, n: int = 10) -> Candidates:
    """The target is the row that `near` puts first; `far` says a little of it, `noise` nothing."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(n_users * n, 4)).astype(np.float32)
    best = features[:, 0].reshape(n_users, n).argmax(1) + n * np.arange(n_users)
    label = np.zeros(len(features), dtype=bool)
    label[best] = True
    features[:, 1] += label
    names = ("near.z", "far.z", "noise.z", "history.length")
    items = np.tile(np.arange(n, dtype=np.int32), n_users)
    offsets = n * np.arange(n_users + 1)
    return Candidates(offsets, items, features, names, tie_order([str(i) for i in range(n)]), label)


def ranker(name: str, candidates: Candidates) -> Any:
    kind = load_class(name)
    return kind.fit(kind.Config(), candidates, 1)


@pytest.mark.parametrize("name", ["fusion", "logistic", "lambdarank", "wide-deep"])
def test_what_carries_a_row_is_what_the_ranker_goes_by(name: str) -> None:
    candidates = lesson()
    fitted = ranker(name, candidates)
    rows = np.flatnonzero(candidates.label)
    found = shares(fitted, candidates, rows, SOURCES, SOURCES)
    assert found.shape == (len(rows), 3)
    assert (found.argmax(axis=1) == 0).mean() > 0.9
    # a part that is on average no larger than another's on the rows it carries would be no share of the score
    assert found[:, 0].mean() > 3 * abs(found[:, 2].mean())


def test_the_parts_of_a_linear_ranker_add_up_to_the_score_with_the_users_mean() -> None:
    candidates = lesson(20)
    fitted = ranker("fusion", candidates)
    rows = np.arange(0, len(candidates), 7)
    scores = fitted.score(candidates)
    means = scores.reshape(20, 10).mean(1)[candidates.users[rows]]
    assert fitted.parts(candidates, rows).sum(1) == pytest.approx(scores[rows] - means, abs=1e-4)


class Silent:
    """A ranker of somebody else's that cannot say what its scores are made of."""


def test_a_ranker_that_cannot_say_it_has_the_best_place_among_the_credited_retrievers() -> None:
    candidates = lesson(2, 3)
    candidates.features[:3, :3] = [[3, 1, 2], [2, 3, 1], [1, 2, 3]]
    silent: Any = Silent()
    assert not isinstance(silent, Explains)
    found = shares(silent, candidates, np.array([0, 1, 2]), SOURCES, ["near", "far"])
    assert found.argmax(axis=1).tolist() == [0, 1, 1] and not found[:, 2].any()


def test_retrievers_that_are_worse_than_popularity_are_not_credited() -> None:
    import pyarrow as pa

    values = {"near": 0.3, "far": 0.1, "popularity": 0.2}
    rows = [{"kind": "retriever", "name": name, "metric": "ndcg@10", "value": v} for name, v in values.items()]
    assert at_least_popularity(pa.Table.from_pylist(rows), ["near", "far", "popularity"]) == ["near", "popularity"]

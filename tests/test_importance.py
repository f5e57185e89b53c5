"""How much a ranker goes by each source, and how many users it takes: candidates where only some features can tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import family
from llmrec_cli.ranking.rankers import load_class
from llmrec_cli.ranking.rankers.conditional_logit import Fusion, FusionConfig, spreads
from llmrec_cli.ranking.rankers.lambdarank import LambdaRank, LambdaRankConfig

USERS, WIDTH = 400, 10


def test_what_is_undone_or_the_same_for_all_candidates_counts_nothing() -> None:
    names = ("a.z", "a.raw", "b.z", "b.raw", "c.z")
    offsets = np.array([0, 2, 4])
    x = np.array([[1, 1, 2, 1, 9], [-1, -1, 0, 1, 9], [1, 1, 2, 1, -9], [-1, -1, 0, 1, -9]], dtype=np.float32)
    weights = np.array([2, -2, 3, 1, 5], dtype=np.float32)
    # a undoes itself; b moves its candidates by 3 around their mean, shared out 3 to 1; c tells users apart only
    np.testing.assert_allclose(spreads(x, weights, names, offsets), [0, 0, 2.25, 0.75, 0], atol=1e-6)


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    """The first of a user's candidates by `good.z` came next; `user.z` is the same for all of a user's."""
    rng = np.random.default_rng(0)
    good = rng.normal(size=(USERS, WIDTH))
    noise, user = rng.normal(size=(USERS, WIDTH)), np.repeat(rng.normal(size=(USERS, 1)), WIDTH, axis=1)
    label = (good == good.max(axis=1, keepdims=True)).ravel()
    features = np.stack([good.ravel(), noise.ravel(), user.ravel()], axis=1).astype(np.float32)
    items = np.tile(np.arange(WIDTH, dtype=np.int32), USERS)
    return Candidates(
        np.arange(USERS + 1) * WIDTH, items, features, ("good.z", "noise.z", "user.z"), np.arange(WIDTH), label
    )


@pytest.mark.parametrize("name", ["fusion", "logistic", "wide-deep", "lambdarank"])
def test_the_source_that_reports_has_nearly_all_the_weight(name: str, candidates: Candidates) -> None:
    kind = load_class(name)
    importance = kind.fit(kind.Config(), candidates, 1).importance()
    shares = importance / importance.sum()
    assert shares[0] > 0.85 and shares[2] < 0.03


def test_few_users_leave_the_sources_at_equal_weights_and_many_do_not(candidates: Candidates) -> None:
    named = replace(candidates, names=("good.z", "noise.z", "popularity.z"))

    def per_unit(users: int) -> np.ndarray:
        """(features,) weights of features that are not scaled."""
        fitted = Fusion.fit(FusionConfig(), named.keep(named.rows(np.arange(USERS) < users)), 1)
        return fitted.weights / fitted.std

    good, noise, popular = per_unit(1)
    assert good > 0 and noise == pytest.approx(good, rel=0.1) and abs(popular) < 0.1 * good
    good, noise, popular = per_unit(USERS)
    assert good > 0 and abs(noise) < 0.1 * good


def test_trees_are_as_many_as_the_users_can_teach(candidates: Candidates) -> None:
    def rounds(users: int, trees: int = 0) -> int:
        few = candidates.keep(candidates.rows(np.arange(USERS) < users))
        return len(LambdaRank.fit(LambdaRankConfig(trees=trees), few, 1).trees.trees)

    assert [rounds(40), rounds(USERS), rounds(40, trees=7)] == [10, USERS // 20, 7]


@pytest.mark.parametrize("name", ["popularity", "lda"])
def test_a_ranker_of_one_source_goes_by_that_alone(name: str, candidates: Candidates) -> None:
    kind = load_class(name)
    renamed = replace(candidates, names=("other.raw", f"{name}.raw", f"{name}.z"))
    fitted = kind.fit(kind.Config(), renamed, 1)
    assert fitted.importance().tolist() == [0, 1, 0]
    np.testing.assert_array_equal(fitted.score(renamed), candidates.column("noise.z"))


def test_the_source_of_a_feature_is_all_before_the_last_dot() -> None:
    assert family("als.z") == "als" and family("my.module:Own.raw") == "my.module:Own"

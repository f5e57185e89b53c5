"""Sources that compare users, order pairs or find topics, and popularity lately: values by hand or by a library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.entries import strongest
from llmrec_cli.ranking.retrievers import Histories, userknn
from llmrec_cli.ranking.retrievers.bpr import Bpr, BprConfig, mean_factors, ridge
from llmrec_cli.ranking.retrievers.content_based import Tfidf, TfidfConfig, nearest_meanings, weighed_words
from llmrec_cli.ranking.retrievers.itemknn import ItemKNN, KNNConfig
from llmrec_cli.ranking.retrievers.popularity import DAY, Popularity, PopularityConfig
from llmrec_cli.ranking.retrievers.topic_choice import Lda, LdaConfig, topic_shares
from llmrec_cli.ranking.retrievers.userknn import UserKNN, UserKNNConfig
from tests.tiny import all_scores

ITEMS = 6
NONE = np.zeros((ITEMS, 0), dtype=np.float32)
CATALOGUE = Catalogue([*"abcdef"], [*"abcdef"], [""] * ITEMS, [""] * ITEMS, [[]] * ITEMS, NONE, NONE)


def log(*histories: list[int]) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(np.concatenate([np.array(h, dtype=np.int32) for h in histories]), offsets, ITEMS)


def asked(*histories: list[int]) -> Histories:
    return Histories(log(*histories), np.zeros((len(histories), 1), dtype=np.float32))


def test_neighbours_equally_alike_are_kept_by_their_ids_whatever_their_rows() -> None:
    """All five others were chosen with the first item once each: two of them stay, the same under other row numbers."""
    config = KNNConfig(neighbours=2)
    turned = replace(CATALOGUE, item_ids=CATALOGUE.item_ids[::-1], titles=CATALOGUE.titles[::-1])
    one = ItemKNN.fit(config, log(*[[0, other] for other in range(1, ITEMS)]), CATALOGUE, 0).similarity
    other = ItemKNN.fit(config, log(*[[5, 5 - other] for other in range(1, ITEMS)]), turned, 0).similarity
    kept = {CATALOGUE.item_ids[code] for code in one[0].indices}
    assert len(kept) == 2 and kept == {turned.item_ids[code] for code in other[5].indices}


def two_sides(users: int = 200, steps: int = 8, seed: int = 0) -> Sequences:
    """Even users choose among items 0 to 2, odd ones among 3 to 5."""
    codes = np.random.default_rng(seed).integers(0, 3, (users, steps)) + 3 * (np.arange(users) % 2)[:, None]
    return Sequences(codes.astype(np.int32).ravel(), np.arange(users + 1) * steps, ITEMS)


def test_the_people_most_alike_say_what_comes_next() -> None:
    people = log([0, 1, 2], [0, 3], [4, 5])
    config = UserKNNConfig(neighbours=2, shrink=0.5, decay=0.5)
    scores = all_scores(UserKNN.fit(config, people, CATALOGUE, 0), asked([0, 1], [4, 5], []))
    # (1/2, 1) against (1/4, 1/2, 1) and (1/2, 0, 0, 1)
    first = (1 / 8 + 1 / 2) / (np.sqrt(1.25) * np.sqrt(1.3125) + 0.5)
    second = (1 / 4) / (np.sqrt(1.25) * np.sqrt(1.25) + 0.5)
    expected = first * np.array([1 / 4, 1 / 2, 1, 0, 0, 0]) + second * np.array([1 / 2, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6)
    assert not scores[1].any(), "the same history knows of nothing new"
    assert not scores[2].any()
    nearest = all_scores(UserKNN.fit(config.model_copy(update={"neighbours": 1}), people, CATALOGUE, 0), asked([0, 1]))
    np.testing.assert_allclose(nearest[0], first * np.array([1 / 4, 1 / 2, 1, 0, 0, 0]), rtol=1e-6)


def test_of_many_people_some_are_drawn_and_rows_stay_those_of_the_log() -> None:
    people = two_sides(users=50)
    whole, some = (UserKNN.fit(UserKNNConfig(max_people=n), people, CATALOGUE, 7) for n in (50, 20))
    there = np.diff(some.people.indptr) > 0
    assert there.sum() == 20 and some.people.shape == whole.people.shape
    np.testing.assert_array_equal(some.people[there].toarray(), whole.people[there].toarray())
    left = some.without(np.flatnonzero(there)[:5])  # as `forget` does, by the rows of the log
    assert left.people.shape[0] == 45 and (np.diff(left.people.indptr) > 0).sum() == 15
    assert all_scores(some, asked([0])).any()


def test_pieces_of_users_are_bounded_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    people = log(*[rng.integers(0, ITEMS, 4).tolist() for _ in range(40)])
    fitted = UserKNN.fit(UserKNNConfig(neighbours=5), people, CATALOGUE, 0)
    users = Histories(people, np.zeros((40, 1), dtype=np.float32))
    whole = all_scores(fitted, users)
    monkeypatch.setattr(userknn, "ENTRIES", 150)
    weights = people.matrix(fitted.config.decay)
    pieces = list(fitted._pieces(weights))
    assert [start for start, _ in pieces[1:]] == [stop for _, stop in pieces[:-1]] and pieces[-1][1] == 40
    sizes = [(weights[start:stop] @ fitted.transposed).nnz for start, stop in pieces]
    assert len(pieces) > 5 and all(n <= 150 for n, (a, b) in zip(sizes, pieces, strict=True) if b - a > 1)
    np.testing.assert_array_equal(all_scores(fitted, users.block(0, 40)), whole)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_the_strongest_entries_of_a_row_are_kept_and_equal_ones_by_column(n: int) -> None:
    rng = np.random.default_rng(3)
    dense = rng.integers(-4, 5, (30, 40)).astype(np.float32) * 0.3  # many are equal, some are negative, some not there
    dense[5] = 0
    kept = strongest(sp.csr_matrix(dense), n).toarray()
    ties = rng.permutation(40)
    by_ties = strongest(sp.csr_matrix(dense[:, np.argsort(ties)]), n).toarray()[:, ties]
    np.testing.assert_array_equal(strongest(sp.csr_matrix(dense), n, ties).toarray(), by_ties)
    expected = np.zeros_like(dense)
    for row, given in enumerate(dense):
        there = np.flatnonzero(given)
        best = there[np.argsort(-given[there], kind="stable")[:n]]
        expected[row, best] = given[best]
    np.testing.assert_array_equal(kept, expected)


def test_the_fold_of_pairwise_factors_is_a_ridge_regression() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    strength = 0.1 * np.trace(x.T @ x) / 4
    expected = Ridge(alpha=strength, fit_intercept=False).fit(x, y).coef_.T
    np.testing.assert_allclose(ridge(x, y, 0.1), expected, rtol=1e-4, atol=1e-5)
    means = mean_factors(sp.csr_matrix(np.array([[0.5, 1.0, 0, 0], [0, 0, 0, 0]], dtype=np.float32)), x[:4])
    np.testing.assert_allclose(means, [(0.5 * x[0] + x[1]) / 1.5, np.zeros(4)], rtol=1e-5)


def test_pairwise_factors_serve_users_who_were_not_there() -> None:
    fitted = Bpr.fit(BprConfig(factors=8), two_sides(), CATALOGUE, 1)
    scores = all_scores(fitted, asked([0, 1], [4, 3], []))
    assert scores[0, 2] > scores[0, 3:].max() and scores[1, 5] > scores[1, :3].max()
    np.testing.assert_allclose(scores[2], fitted.bias, rtol=1e-6)


def test_topics_of_a_history_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import LatentDirichletAllocation

    counts = two_sides(60).matrix().astype(np.float64)
    model = LatentDirichletAllocation(3, max_iter=5, random_state=0, mean_change_tol=1e-9, max_doc_update_iter=500)
    model.fit(counts)
    np.testing.assert_allclose(topic_shares(counts, model.components_, 500), model.transform(counts), atol=1e-6)


def test_topic_scores_are_log_probabilities() -> None:
    fitted = Lda.fit(LdaConfig(topics=2), two_sides(), CATALOGUE, 1)
    scores = all_scores(fitted, asked([0, 1], [4, 3], []))
    np.testing.assert_allclose(np.exp(scores.astype(np.float64)).sum(1), 1, rtol=1e-5)
    assert scores[0, 2] > scores[0, 3:].max() + 1 and scores[1, 5] > scores[1, :3].max() + 1
    np.testing.assert_allclose(np.exp(scores[2]), fitted.of_topics.mean(0), rtol=1e-5)
    assert all_scores(Lda.fit(LdaConfig(), log([], []), CATALOGUE, 1), asked([])).shape == (1, ITEMS)


def test_recent_popularity_counts_events_by_their_age() -> None:
    times = np.array([0, 5, 10, 10]) * DAY
    events = replace(log([0, 1], [0, 2]), times=times)

    def scores(**settings: float) -> np.ndarray:
        return Popularity.fit(PopularityConfig(**settings), events, CATALOGUE, 0).scores

    np.testing.assert_allclose(scores(), np.log1p([2, 1, 1, 0, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(scores(half_life=5), np.log1p([1.25, 0.5, 1, 0, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(scores(window=5), np.log1p([1, 1, 1, 0, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(scores(window=4, half_life=5), np.log1p([1, 0, 1, 0, 0, 0]), rtol=1e-6)


def test_recent_popularity_without_times_is_reported() -> None:
    with pytest.raises(SettingsError, match="time of every event"):
        Popularity.fit(PopularityConfig(window=5), log([0]), CATALOGUE, 0)


def test_neighbours_by_text_are_the_largest_products_of_what_was_chosen_worked_out_once() -> None:
    rng = np.random.default_rng(5)
    n, kept = 40, 7
    ids = [f"i{n}" for n in range(n)]
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 12, 6)) for _ in ids]
    vectors = rng.normal(size=(n, 9)).astype(np.float32)
    catalogue = Catalogue(ids, ids, texts, [""] * n, [[]] * n, vectors, vectors)
    few, all_of_them = (Sequences(np.arange(m, dtype=np.int32), np.array([0, m]), n) for m in (15, n))
    counts = weighed_words(catalogue)[0].toarray()
    for events in (few, all_of_them):
        products = {"words": counts @ counts.T, "meanings": vectors @ vectors.T}
        found = {
            "words": Tfidf.fit(TfidfConfig(neighbours=kept), events, catalogue, 0).similarity,
            "meanings": nearest_meanings(events, catalogue, kept),
        }
        for kind, matrix in found.items():
            expected = products[kind] * (1 - np.eye(n)) * (events.counts() > 0)[:, None]
            least = -np.sort(-expected, axis=1)[:, kept - 1]
            expected = np.where((expected > 0) & (expected >= least[:, None]), expected, 0)
            same = np.diff(matrix.indptr) == (expected > 0).sum(axis=1)  # of equal ones at the end some are left out
            np.testing.assert_allclose(matrix.toarray()[same], expected[same], atol=1e-6)
            assert same.mean() > 0.8 and np.diff(matrix.indptr).max() <= kept
    assert nearest_meanings(few, replace(catalogue, text_vectors=-vectors[::-1]), kept).nnz
    assert nearest_meanings(few, replace(catalogue, text_vectors=0 * vectors), kept).nnz == 0

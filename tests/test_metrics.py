"""Metrics against ir-measures, intervals against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.data import metrics
from llmrec_cli.data.metrics import (
    MISS,
    bootstrap,
    calibration,
    coverage,
    diversity,
    gini,
    list_mean,
    normal_interval,
    novelty,
    paired_bootstrap,
    rank_metrics,
    row_shares,
    single_target_metrics,
)

Lists = np.ndarray


def example(seed: int = 0, users: int = 40, items: int = 30) -> tuple[Lists, np.ndarray, np.ndarray]:
    """Lists of 0 to 12 items without repeats and 1 to 6 targets for each user, some of them given twice."""
    rng = np.random.default_rng(seed)
    lists = np.full((users, 12), -1, dtype=np.int32)
    for user in range(users):
        n = rng.integers(0, 13)
        lists[user, :n] = rng.permutation(items)[:n]
    lengths = rng.integers(1, 7, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return lists, offsets, rng.integers(0, items, offsets[-1]).astype(np.int32)


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_accuracy_equals_ir_measures(k: int) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    lists, offsets, items = example()
    ours = rank_metrics(lists, (offsets, items), k)
    qrels = [
        ir_measures.Qrel(str(u), str(i), 1)
        for u in range(len(lists))
        for i in sorted(set(items[offsets[u] : offsets[u + 1]].tolist()))
    ]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), -float(place))
        for u in range(len(lists))
        for place, i in enumerate(lists[u])
        if i >= 0
    ]
    names = {"recall": ir_measures.R, "ndcg": ir_measures.nDCG, "mrr": ir_measures.RR, "map": ir_measures.AP}
    names["hit"] = ir_measures.Success
    compared = 0
    for name, measure in names.items():
        theirs = {m.query_id: m.value for m in ir_measures.iter_calc([measure @ k], qrels, run)}
        for user in range(len(lists)):
            assert ours[f"{name}@{k}"][user] == pytest.approx(theirs.get(str(user), 0.0)), (name, user)
            compared += 1
    assert compared == 5 * len(lists)


def test_one_target_is_a_special_case_of_many() -> None:
    lists, _, _ = example(1)
    targets = np.random.default_rng(2).integers(0, 30, len(lists)).astype(np.int32)
    found = lists == targets[:, None]
    ranks = np.where(found.any(1), found.argmax(1), MISS)
    many = rank_metrics(lists, (np.arange(len(lists) + 1), targets), 10)
    for name, values in single_target_metrics(ranks, 10).items():
        np.testing.assert_allclose(values, many[name])
    assert single_target_metrics(np.array([0]), 10)["ndcg@10"][0] == 1.0


def test_a_user_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="target"):
        rank_metrics(np.zeros((2, 3), dtype=np.int32), (np.array([0, 1, 1]), np.array([0], dtype=np.int32)), 3)


def test_what_lists_are_like_together() -> None:
    lists = np.array([[0, 1], [0, -1]], dtype=np.int32)
    assert coverage(lists, 4, 2) == 0.5 and coverage(lists, 4, 1) == 0.25
    np.testing.assert_allclose(novelty(lists, np.array([3, 0, 0, 0]), 7, 2), [(1 + 3) / 2, 1])
    vectors = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(diversity(lists, vectors, 2), [1.0, 0.0])
    np.testing.assert_allclose(diversity(lists, np.ones((4, 1), dtype=np.float32), 2), [0.0, 0.0], atol=1e-6)


def test_diversity_is_the_mean_over_pairs_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = np.stack([rng.permutation(30)[:5] for _ in range(11)]).astype(np.int32)
    pairs = [(a, b) for a in range(5) for b in range(a)]
    expected = [np.mean([1 - vectors[row[a]] @ vectors[row[b]] for a, b in pairs]) for row in lists]
    monkeypatch.setattr(metrics, "_NUMBERS_AT_ONCE", 12)  # three users at a time
    np.testing.assert_allclose(diversity(lists, vectors, 5), expected, atol=1e-6)
    assert diversity(lists[:0], vectors, 5).shape == (0,)


def test_gini_of_exposure() -> None:
    even = np.array([[0, 1], [2, 3]], dtype=np.int32)
    assert gini(even, 4, 2) == 0
    one = np.array([[2], [2], [2]], dtype=np.int32)
    assert gini(one, 4, 1) == pytest.approx(3 / 4)
    # shares 0, 1, 3: mean absolute difference over all ordered pairs, over twice the mean
    some = np.array([[1, 2], [2, -1], [2, -1]], dtype=np.int32)
    x = np.array([0, 1, 3])
    assert gini(some, 3, 2) == pytest.approx(np.abs(x[:, None] - x).mean() / (2 * x.mean()))
    assert gini(np.full((2, 1), -1, dtype=np.int32), 3, 1) == 0


def test_the_mean_over_a_list_knows_short_and_empty_lists() -> None:
    lists = np.array([[0, 2], [1, -1], [-1, -1]], dtype=np.int32)
    np.testing.assert_array_equal(list_mean(lists, np.array([1.0, 5, 3]), 2), [2, 5, np.nan])
    np.testing.assert_array_equal(list_mean(lists, np.array([1.0, 5, 3]), 1), [1, 5, np.nan])


def test_calibration_is_the_divergence_of_steck() -> None:
    tags = sp.csr_matrix(np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [0, 0, 0]]))
    wanted = row_shares(sp.csr_matrix(np.array([[7.0, 3, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [2, 2, 0]])))
    lists = np.array([[0, 1], [1, -1], [2, -1], [0, 1], [3, 3]], dtype=np.int32)
    found = calibration(lists, wanted, tags, 2)
    first = sum(p * np.log(p / (0.99 * 0.5 + 0.01 * p)) for p in (0.7, 0.3))
    np.testing.assert_allclose(found, [first, np.log(100), 0, np.nan, np.nan], atol=1e-12)
    # 200 random users against scipy's relative entropy
    from scipy.special import rel_entr

    rng = np.random.default_rng(0)
    dense = rng.random((40, 6)) * (rng.random((40, 6)) < 0.4)
    dense[dense.sum(axis=1) == 0, 0] = 1
    dense /= dense.sum(axis=1, keepdims=True)
    p = rng.dirichlet(np.full(6, 0.5), 200)
    many = rng.integers(0, 40, (200, 5)).astype(np.int32)
    q = dense[many].mean(axis=1)
    expected = rel_entr(p, 0.99 * q + 0.01 * p).sum(axis=1)
    np.testing.assert_allclose(calibration(many, sp.csr_matrix(p), sp.csr_matrix(dense), 5), expected)


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    mean, low, high = bootstrap(values, seed=1)
    standard_error = values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - 1.96 * standard_error, abs=0.3 * standard_error)
    assert high == pytest.approx(mean + 1.96 * standard_error, abs=0.3 * standard_error)
    assert bootstrap(values, seed=1) == (mean, low, high)
    assert np.isnan(bootstrap(np.zeros(0), seed=1).mean)


def test_the_normal_interval_is_that_of_the_bootstrap() -> None:
    values = np.append(np.random.default_rng(0).normal(3.0, 2.0, 2000), np.nan)
    error = values[:-1].std() / np.sqrt(2000)
    np.testing.assert_allclose(normal_interval(values), bootstrap(values[:-1], seed=1), atol=0.2 * error)
    assert normal_interval([2.0, 2.0]) == (2, 2, 2) and normal_interval([5.0]) == (5, 5, 5)
    assert np.isnan(normal_interval([np.nan]).mean)


def test_pairing_sees_a_difference_that_apart_is_lost() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 5, 500)
    a, b = hard + 0.3 + rng.normal(0, 0.5, 500), hard
    assert bootstrap(a, 0).low < bootstrap(b, 0).high
    assert paired_bootstrap(a, b, 0).low > 0
    assert paired_bootstrap(b, a, 0).high < 0

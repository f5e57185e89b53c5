"""The best by products of vectors are those of a full ranking in float64, whatever the vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec_cli.ranking import item_table
from llmrec_cli.ranking.item_table import ItemTable, LogSums, Moments, dots
from llmrec_cli.ranking.retrievers import Excluded

USERS, WIDTH, BEST = 30, 17, 20
Vectors = tuple[np.ndarray, np.ndarray]


def vectors(kind: str, items: int) -> Vectors:
    rng = np.random.default_rng(items)
    users, table = (rng.normal(size=(n, WIDTH)).astype(np.float32) for n in (USERS, items))
    if kind == "of uneven length":
        table *= np.exp(2 * rng.normal(size=(items, 1))).astype(np.float32)
    elif kind == "tied":
        users, table = np.round(users), np.round(table / 2)
    elif kind == "zero users":
        users[:] = 0
    elif kind == "mostly zero items":
        table[rng.random(items) < 0.98] = 0
    elif kind == "all below zero":
        users, table = np.abs(users), -np.abs(table)
    elif kind == "of clusters":  # as trained vectors are: many near ties
        table = table[rng.integers(0, 20, items) % items] + 0.05 * table
    return users, table


def ranked(scores: np.ndarray, ties: np.ndarray, excluded: Excluded, n: int) -> np.ndarray:
    scores = scores.copy()
    scores[excluded.users, excluded.codes] = -np.inf
    if excluded.items is not None:
        scores[:, excluded.items] = -np.inf
    out = np.full((len(scores), n), -1)
    for row, own in zip(out, scores, strict=True):
        order = np.lexsort((ties, -own))[: min(n, int((own > -np.inf).sum()))]
        row[: len(order)] = order
    return out


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "kind",
    ["random", "of uneven length", "tied", "zero users", "mostly zero items", "all below zero", "of clusters"],
)
def test_the_best_are_those_of_a_full_ranking(kind: str, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a few hundred items, so that bounds are handed on; also where bfloat16 is slow it has to be right."""
    monkeypatch.setattr(item_table, "FIRST", 128)
    monkeypatch.setattr(item_table, "ITEMS", 256)
    monkeypatch.setattr(item_table, "USERS", 16)
    monkeypatch.setattr(item_table, "fast_dtype", lambda device: torch.bfloat16)
    for items in (10, 1500):
        rng = np.random.default_rng(7)
        users, table = vectors(kind, items)
        ties, nobody = rng.permutation(items), rng.random(items) < 0.3
        pairs = rng.integers(0, USERS, 200), rng.integers(0, items, 200).astype(np.int32)
        truth = users.astype(np.float64) @ table.astype(np.float64).T
        size = np.linalg.norm(users, axis=1)[:, None] * np.linalg.norm(table, axis=1).max()
        for hidden in (None, nobody):
            excluded = Excluded(*pairs, hidden, ties)
            search = ItemTable(torch.from_numpy(table), ties, hidden, exact=exact)
            codes, scores = search.top(torch.from_numpy(users), BEST, excluded)
            expected = ranked(truth, ties, excluded, BEST)
            rows, ranks = np.nonzero(expected >= 0)
            np.testing.assert_array_equal(codes >= 0, expected >= 0)
            assert np.isneginf(scores[codes < 0]).all()
            # two items change places only where float32 does not tell them apart
            best = np.full(expected.shape, -np.inf)
            best[rows, ranks] = truth[rows, expected[rows, ranks]]
            assert np.abs(scores[rows, ranks] - best[rows, ranks]).max(initial=0) <= 1e-6 * size.max()
            if kind in ("tied", "zero users", "mostly zero items", "random"):
                np.testing.assert_array_equal(codes, expected)


def test_sums_and_moments_are_those_of_all_products() -> None:
    users, table = vectors("of uneven length", 700)
    truth = users.astype(np.float64) @ table.astype(np.float64).T
    sums = LogSums(USERS)
    none = np.zeros(0, dtype=np.int64)
    ItemTable(torch.from_numpy(table), exact=True).top(
        torch.from_numpy(users), 5, Excluded(none, none.astype(np.int32)), sums
    )
    largest = truth.max(axis=1)
    expected = largest + np.log(np.exp(truth - largest[:, None]).sum(axis=1))
    np.testing.assert_allclose(sums.of_users(), expected, rtol=1e-5)
    mean, std = Moments.of(torch.from_numpy(table)).of_users(torch.from_numpy(users))
    np.testing.assert_allclose(mean, truth.mean(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(std, truth.std(axis=1), rtol=1e-5)


def test_products_of_pairs() -> None:
    users, table = vectors("random", 50)
    rows, items = np.sort(np.random.default_rng(1).integers(0, USERS, 90)), np.arange(90).astype(np.int32) % 50
    found = dots(torch.from_numpy(users), rows, torch.from_numpy(table), items)
    np.testing.assert_allclose(found, (users[rows] * table[items]).sum(axis=1), rtol=1e-4, atol=1e-5)
    assert not dots(torch.zeros(3, 0), rows[:4] * 0, torch.zeros(50, 0), items[:4]).any()

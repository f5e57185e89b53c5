"""Sparse scores: single cells, sums and the order of what has no entry are those of the whole row."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking import entries
from llmrec_cli.ranking.entries import first_free, found_cells, maxima, sums, values_at
from llmrec_cli.ranking.retrievers import Excluded, Histories
from llmrec_cli.ranking.retrievers.item_pairs import pair_values
from llmrec_cli.ranking.retrievers.transitions import Transitions, TransitionsConfig
from llmrec_cli.ranking.topk import topk
from tests.tiny import all_scores

ROWS, COLUMNS = 30, 200


def scattered(seed: int = 0) -> sp.csr_matrix:
    """Some rows have nothing."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((ROWS, COLUMNS)) < 0.2, rng.random((ROWS, COLUMNS)), 0).astype(np.float32)
    dense[::7] = 0
    return sp.csr_matrix(dense)


def test_cells_sums_and_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "CELLS", 4 * COLUMNS)
    matrix, rng = scattered(), np.random.default_rng(1)
    rows, columns = np.sort(rng.integers(0, ROWS, 500)), rng.integers(0, COLUMNS, 500)
    rows, columns = np.append(rows, ROWS - 1), np.append(columns, columns[-1])  # one is asked for twice
    dense = matrix.toarray()
    np.testing.assert_array_equal(values_at(matrix, rows, columns), dense[rows, columns])
    at, question, _ = found_cells(matrix, rows, columns)
    np.testing.assert_array_equal(matrix.data[at], dense[rows[question], columns[question]])
    np.testing.assert_array_equal(sums(matrix.data.astype(np.float64), matrix.indptr), dense.sum(1, dtype=np.float64))
    np.testing.assert_array_equal(np.maximum(maxima(matrix.data, matrix.indptr), 0), dense.max(1))
    long = np.repeat([3, 5], 60), np.tile(np.arange(60), 2)
    np.testing.assert_array_equal(pair_values(matrix, *(each.astype(np.int32) for each in long)), dense[long])


def test_what_is_free_comes_in_order() -> None:
    order = np.random.default_rng(2).permutation(50).astype(np.int32)
    rows, taken = np.array([0] * 49 + [1, 1]), np.append(order[:49], order[[0, 2]])
    found, items = first_free(order, 3, 3, rows, taken)
    assert found.tolist() == [0, 1, 1, 1, 2, 2, 2]
    assert items.tolist() == order[[49, 1, 3, 4, 0, 1, 2]].tolist()


@pytest.mark.parametrize("popularity", [-0.05, 0.0, 0.3])
@pytest.mark.parametrize("n", [1, 10, 300])
def test_the_best_of_counts_are_those_of_whole_rows(popularity: float, n: int) -> None:
    """What has no entry may be among the best as well: the prior decides, and the ties of many counts."""
    rng = np.random.default_rng(3)
    strength = sp.csr_matrix(np.round(scattered(4).toarray()[:, :ROWS] * 2).astype(np.float32))
    strength.eliminate_zeros()
    prior = (popularity * np.log(rng.integers(1, 5, ROWS) / 50)).astype(np.float32)
    model = Transitions(TransitionsConfig(tau=1.0), strength, prior)
    codes = rng.integers(0, ROWS, 60).astype(np.int32)
    histories = Histories(Sequences(codes, np.array([0, 0, 1, 20, 60]), ROWS), np.zeros((4, 0), dtype=np.float32))
    excluded = Excluded.of(histories.sequences.excluded(seen=True), rng.random(ROWS) < 0.8, rng.permutation(ROWS))
    whole = all_scores(model, histories)
    expected, scores = topk(whole, n, forbidden=excluded.mask(whole.shape), ties=excluded.ties)
    found = model.top(histories, n, excluded)
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], scores)
    statistics = model.statistics(histories)
    np.testing.assert_allclose(statistics.mean, whole.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics.std, whole.std(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics.top, np.maximum(whole.max(1), 1e-6), rtol=1e-6)

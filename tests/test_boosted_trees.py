"""What is read of LightGBM's trees says of every row what LightGBM says."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from llmrec_cli.ranking.rankers.boosted_trees import Trees


@pytest.mark.parametrize(("leaves", "least_gain"), [(2, 0), (5, 0), (15, 0), (31, 0), (1, 1e9)])
def test_scores_and_parts_are_those_of_lightgbm(leaves: int, least_gain: float) -> None:
    """Also where a feature is asked about twice on a way, where a value is a threshold, and for trees of one leaf."""
    rng = np.random.default_rng(leaves)
    rows = np.round(rng.random((600, 6)), 1).astype(np.float32)
    label = np.sin(9 * rows[:, 0]) + rows[:, 1] * rows[:, 2] - (rows[:, 3] > 0.5)
    settings = {
        "num_leaves": max(leaves, 2),
        "min_data_in_leaf": 3,
        "verbosity": -1,
        "num_threads": 1,
        "bagging_fraction": 0.7,
    }
    settings |= {"bagging_freq": 1, "min_gain_to_split": least_gain}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, label), 30)
    trees = Trees(booster.model_to_string())
    sizes = {len(tree.leaf_values) for tree in trees.trees}
    assert max(sizes) == leaves and (trees.booster is not None) == (leaves > 17)
    np.testing.assert_array_equal(trees.predict(rows), booster.predict(rows))
    expected = booster.predict(rows, pred_contrib=True)[:, :-1]
    np.testing.assert_allclose(trees.parts(rows), expected, atol=1e-12)
    np.testing.assert_array_equal(trees.parts(rows[:3]), trees.parts(rows)[:3])
    assert trees.booster is not None or trees.parts(rows[:0]).shape == (0, 6)

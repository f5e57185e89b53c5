"""What is done to arrays everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_cli.core import arrays


@pytest.mark.parametrize(
    ("lengths", "offsets", "places"),
    [
        ([2, 0, 3], [0, 2, 2, 5], [0, 1, 0, 1, 2]),
        ([0, 0], [0, 0, 0], []),
        ([], [0], []),
        ([1], [0, 1], [0]),
    ],
)
def test_groups_in_one_flat_array(lengths: list[int], offsets: list[int], places: list[int]) -> None:
    given = np.array(lengths, dtype=np.int64)
    assert arrays.offsets_of(given).tolist() == offsets and arrays.offsets_of(given).dtype == np.int64
    assert arrays.within_groups(given).tolist() == places


def test_unit_rows_have_length_1_and_zero_rows_stay_zero() -> None:
    rows = arrays.unit(np.array([[3, 4], [0, 0], [0, -1e-3]], dtype=np.float32))
    assert rows.dtype == np.float32
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, -1]]))

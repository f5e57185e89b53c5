"""Types of arrays, and what is done to arrays everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


def length_sorted(lengths: Ints, tokens: int) -> Iterator[Ints]:
    """Rows in blocks of like length whose padded size stays under `tokens`, shortest first."""
    order = np.argsort(lengths, kind="stable")
    stop = 0
    while stop < len(order):
        start = stop
        widths = np.maximum(lengths[order[start : start + tokens]], 1)
        fits = widths * np.arange(1, len(widths) + 1) <= tokens
        stop = start + max(1, int(fits.sum()))
        yield order[start:stop]

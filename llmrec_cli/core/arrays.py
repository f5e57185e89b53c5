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


def offsets_of(lengths: npt.ArrayLike) -> Ints:
    """(groups + 1,) where each group of so many begins in one flat array, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def within_groups(lengths: Ints) -> Ints:
    """(events,) the place of each event in its own group, from 0, for groups of so many that follow each other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def distinct(keys: Ints) -> Ints:
    """The distinct ones, ascending: `np.unique` of whole numbers takes ten times as long as `np.sort`."""
    found = np.sort(keys)
    return found[np.append(True, found[1:] != found[:-1])[: len(found)]]


def unit(rows: Floats) -> Floats:
    """(n, d) float32 rows of length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows, dtype=np.float32), where=lengths > 1e-9)


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

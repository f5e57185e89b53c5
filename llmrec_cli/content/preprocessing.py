"""How content vectors are prepared before the sequence model fuses them with its id embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec_cli.core.arrays import Floats, unit

JOINED = 64  # directions of each kind of content where there are several


def centred(vectors: Floats) -> Floats:
    """Subtract the mean of the non-zero rows and bring them back to unit length; zero rows (no content) stay zero.

    Sentence embeddings of one catalogue share a large common direction; without it neighbours are far better.
    """
    some = np.any(vectors != 0, axis=1)
    if not some.any():
        return vectors.astype(np.float32)
    moved = np.where(some[:, None], vectors - vectors[some].mean(0, dtype=np.float64).astype(np.float32), 0)
    return unit(moved)


def reduced(vectors: Floats, dim: int) -> Floats:
    """(n, min(dim, rank)) leading principal directions of the rows, at unit length.

    From the small (t, t) second-moment matrix; signs are fixed by each direction's largest entry, so the same input
    gives the same output.
    """
    _, directions = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    leading = directions[:, ::-1][:, :dim]
    largest = leading[np.abs(leading).argmax(0), np.arange(leading.shape[1])]
    return unit((vectors @ (leading * np.where(largest < 0, -1, 1))).astype(np.float32))


def joined(first: Floats, second: Floats) -> Floats:
    """(n, d + e) unit-length rows of both: their products are the means of both cosines."""
    return unit(np.concatenate([first, second], axis=1))


def joined_kinds(kinds: Sequence[Floats]) -> Floats:
    """(n, dims) rows at unit length of several kinds of content; two items are as alike as the mean of what both have.

    Vectors of one kind stay as they are; of several the leading directions are taken, or the widest counted most.
    """
    if len(kinds) == 1:
        return kinds[0]
    return unit(np.concatenate([centred(reduced(vectors, JOINED)) for vectors in kinds], axis=1))

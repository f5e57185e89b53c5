"""Where items that were never trained start: next to the trained items whose content is most alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from llmrec_cli.core.arrays import Bools, Floats, Ints
from llmrec_cli.sequence.encoder import SequenceEncoder

NEAREST = 3
RIDGE = 1e-3
BLOCK = 1 << 24
"""Similarities at a time."""


@dataclass(frozen=True)
class ColdItems:
    """Items with content that no history has."""

    rows: torch.Tensor
    """(cold items,) rows of the catalogue."""
    nearest: torch.Tensor
    """(cold items, k) rows of the trained items that are most alike."""
    weights: torch.Tensor
    """(cold items, k) squared cosine similarities, with the sum 1; zeros where nothing is alike."""

    def place(self, table: torch.Tensor, trained: torch.Tensor) -> None:
        """Move their rows of a table that holds what their content alone tells, in place.

        A cold item comes to the middle between that and the mean of its neighbours. Both parts count the same, and
        the result is as long as the `trained` rows are on average: a short vector would never be recommended.
        """
        rows, nearest, weights = (part.to(table.device) for part in (self.rows, self.nearest, self.weights))
        neighbours = (weights.unsqueeze(2) * normalize(table[nearest], dim=2)).sum(1)
        length = table[trained].norm(dim=1).mean()
        table[rows] = length * normalize(normalize(table[rows], dim=1) + normalize(neighbours, dim=1), dim=1)


def find(content: torch.Tensor, vocabulary: Ints) -> ColdItems:
    """`content` (items, t) at unit length, zero rows where there is none; `vocabulary`: rows of the trained items."""
    trained = torch.from_numpy(vocabulary)
    unseen = torch.ones(len(content), dtype=torch.bool)
    unseen[trained] = False
    rows = torch.nonzero(unseen & content.cpu().any(dim=1)).squeeze(1)
    known = content[trained]
    k = min(NEAREST, len(trained))
    block = max(1, BLOCK // len(trained))
    found = [(content[rows[at : at + block]] @ known.T).topk(k, dim=1) for at in range(0, len(rows), block)]
    if not found:
        nothing = torch.zeros(0, k)
        return ColdItems(rows, nothing.long(), nothing)
    similarities = torch.cat([each.values for each in found]).clamp(min=0) ** 2
    weights = similarities / similarities.sum(1, keepdim=True).clamp(min=1e-9)
    return ColdItems(rows, trained[torch.cat([each.indices for each in found]).cpu()], weights.cpu())


def explained(content: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """(t, d) weights of a ridge regression: what (n, t) content says of (n, d) rows of an item table."""
    square = content.T @ content + RIDGE * len(content) * torch.eye(content.shape[1])
    return torch.linalg.solve(square, content.T @ table)


def as_cold(encoder: SequenceEncoder, content: Floats, cold: Bools) -> SequenceEncoder:
    """The encoder as if it had not been trained on some of its items, a (items,) mask: their content places them.

    `content` is (items, t) at unit length or zero.
    """
    table, rows = encoder.table.float().cpu().clone(), torch.from_numpy(content)
    trained = torch.from_numpy(~cold)
    mean = table[:-1][trained].mean(0)
    weights = explained(rows[trained], table[:-1][trained] - mean)
    table[:-1][~trained] = mean + rows[~trained] @ weights
    find(rows, np.flatnonzero(~cold)).place(table, torch.nonzero(trained).squeeze(1))
    return SequenceEncoder(
        encoder.shape, encoder.network, table.to(encoder.table), encoder.content, encoder.content_weight
    )

"""Where items that were never trained start: next to the trained items whose content is most alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from llmrec_cli.core.arrays import Ints

NEAREST = 3
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

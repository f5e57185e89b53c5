"""Item-based collaborative filtering: items are alike when the same people chose them (Sarwar et al. 2001)."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.entries import strongest
from llmrec_cli.ranking.retrievers.item_pairs import Neighbourhood


class KNNConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.itemknn]`."""

    shrink: float = Field(10.0, ge=0, description="added to the norm: distrusts pairs of rare items")
    decay: float = Field(0.5, gt=0, le=1, description="weight of an event against the one after it")
    neighbours: int = Field(500, ge=1, description="most alike items kept for each item")
    max_history: int = Field(500, ge=1, description="newest events of a user that count pairs")


class ItemKNN(Neighbourhood):
    """score = sum over the history of decay**age x co-count / (sqrt(d_i d_j) + shrink)."""

    label, evidence = "Chosen together", "together"
    config: KNNConfig

    @classmethod
    def fit(cls, config: KNNConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        users = sequences.matrix(limit=config.max_history)
        users.data[:] = 1.0
        together = (users.T @ users).tocoo()
        degree = np.sqrt(np.bincount(users.indices, minlength=sequences.n_items).astype(np.float32))
        apart = together.row != together.col
        rows, columns, counts = together.row[apart], together.col[apart], together.data[apart]
        values = counts / (degree[rows] * degree[columns] + config.shrink)
        similarity = sp.csr_matrix((values.astype(np.float32), (rows, columns)), shape=together.shape)
        return cls(config, strongest(similarity, config.neighbours, tie_order(catalogue.item_ids)))

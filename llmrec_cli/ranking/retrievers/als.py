"""Matrix factorisation of implicit feedback by alternating least squares (Hu et al. 2008), with fold-in."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.dot_products import ProductRetriever


class AlsConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.als]`."""

    factors: int = Field(128, ge=1, description="width of the factors")
    iterations: int = Field(12, ge=1, description="alternations")
    regularization: float = Field(20.0, ge=0, description="ridge on the factors")
    alpha: float = Field(20.0, gt=0, description="confidence of an event is 1 + alpha")
    decay: float = Field(0.6, gt=0, le=1, description="confidence of an event against the one after it, at fold-in")


class Als(ProductRetriever):
    """score = folded-in user factors @ item factors."""

    label, evidence = "Like-minded people", "together"
    config: AlsConfig
    items: Floats
    """(items, factors)"""

    @classmethod
    def fit(cls, config: AlsConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        users = sequences.matrix()
        users.data[:] = 1.0
        with threadpool_limits(1, user_api="blas"):  # its threads and those of BLAS fight otherwise
            model = AlternatingLeastSquares(
                factors=config.factors,
                iterations=config.iterations,
                regularization=config.regularization,
                alpha=config.alpha,
                random_state=seed,
                num_threads=torch.get_num_threads(),
            )
            model.fit(users, show_progress=False)
        return cls(config, np.ascontiguousarray(model.item_factors, dtype=np.float32))

    def item_vectors(self) -> torch.Tensor:
        return torch.from_numpy(self.items)

    def user_vectors(self, histories: Histories) -> Floats:
        confidence = histories.sequences.matrix(self.config.decay)
        confidence.data *= self.config.alpha
        return fold_in(confidence, self.items, self.config.regularization)


def fold_in(confidence: sp.csr_matrix, items: Floats, regularization: float, steps: int = 5) -> Floats:
    """(users, factors) least-squares factors of new histories, by conjugate gradients for all users at once.

    `confidence` (users, items) holds alpha x weight of the events; Takács, Pilászy and Tikk (2011).
    """
    rows = np.repeat(np.arange(confidence.shape[0]), np.diff(confidence.indptr))
    gram = items.T @ items + regularization * np.eye(items.shape[1], dtype=np.float32)

    def apply(x: Floats) -> Floats:
        seen = np.einsum("nd,nd->n", x[rows], items[confidence.indices]) * confidence.data
        weighted = sp.csr_matrix((seen, confidence.indices, confidence.indptr), shape=confidence.shape)
        return np.asarray(x @ gram + weighted @ items, dtype=np.float32)

    ones = sp.csr_matrix((confidence.data + 1, confidence.indices, confidence.indptr), shape=confidence.shape)
    residual = np.asarray(ones @ items, dtype=np.float32)
    x, direction = np.zeros_like(residual), residual.copy()
    size = (residual**2).sum(1)
    for _ in range(steps):
        step_to = apply(direction)
        length = size / np.maximum((direction * step_to).sum(1), 1e-12)
        x += length[:, None] * direction
        residual -= length[:, None] * step_to
        new = (residual**2).sum(1)
        direction = residual + (new / np.maximum(size, 1e-12))[:, None] * direction
        size = new
    return x

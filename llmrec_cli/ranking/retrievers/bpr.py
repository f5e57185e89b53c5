"""Matrix factorisation that learns the order of pairs of items: Bayesian personalised ranking."""

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


class BprConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.bpr]`."""

    factors: int = Field(64, ge=1, description="width of the factors")
    iterations: int = Field(100, ge=1, description="passes over the events")
    learning_rate: float = Field(0.05, gt=0, description="step of the descent")
    regularization: float = Field(0.01, ge=0, description="ridge on the factors")
    decay: float = Field(0.9, gt=0, le=1, description="weight of an event against the one after it, at fold-in")


class Bpr(ProductRetriever):
    """score = (mean item factor of the history) @ fold @ item factors + bias of the item.

    BPR (Rendle et al. 2009) learns a vector for each training user, which is out of date as soon as the user acts and
    absent for a new one. So the vectors are only used to learn `fold`, the ridge regression of a user's vector on the
    mean factor of the user's items; at scoring it maps the decayed mean of whatever history is given. Without events
    the biases decide. One thread, for several update the factors in an order that changes from run to run.
    """

    label, evidence = "Like-minded people, by pairs", "together"
    config: BprConfig
    items: Floats
    """(items, d)"""
    bias: Floats
    """(items,)"""
    fold: Floats
    """(d, d)"""

    @classmethod
    def fit(cls, config: BprConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        users = sequences.matrix()
        users.data[:] = 1.0
        model = BayesianPersonalizedRanking(
            factors=config.factors,
            iterations=config.iterations,
            learning_rate=config.learning_rate,
            regularization=config.regularization,
            random_state=seed,
            num_threads=1,
        )
        model.fit(users, show_progress=False)
        # implicit keeps the bias as the last factor, against a 1 of each user
        items = np.ascontiguousarray(model.item_factors[:, :-1], dtype=np.float32)
        bias = np.ascontiguousarray(model.item_factors[:, -1], dtype=np.float32)
        some = np.diff(users.indptr) > 0
        return cls(config, items, bias, ridge(mean_factors(users, items)[some], model.user_factors[some, :-1]))

    def item_vectors(self) -> torch.Tensor:
        return torch.from_numpy(np.column_stack([self.items, self.bias]))

    def user_vectors(self, histories: Histories) -> Floats:
        users = mean_factors(histories.sequences.matrix(self.config.decay), self.items) @ self.fold
        return np.column_stack([users, np.ones(len(users), dtype=np.float32)])


def mean_factors(weights: sp.csr_matrix, items: Floats) -> Floats:
    """(users, d) weighted mean of the factors of each user's items; zero without events."""
    total = np.maximum(np.asarray(weights.sum(axis=1), dtype=np.float32), 1e-12).reshape(-1, 1)
    return np.asarray((weights @ items) / total, dtype=np.float32)


def ridge(inputs: Floats, outputs: Floats, strength: float = 1e-3) -> Floats:
    """(d, d) M that makes inputs @ M nearest to outputs; `strength` against the inputs' mean variance x rows."""
    x, y = inputs.astype(np.float64), outputs.astype(np.float64)
    gram = x.T @ x
    penalty = max(strength * np.trace(gram) / len(gram), 1e-12)
    return np.linalg.solve(gram + penalty * np.eye(len(gram)), x.T @ y).astype(np.float32)

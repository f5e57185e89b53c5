"""EASE: the closed-form linear item-item model (Steck 2019, "Embarrassingly Shallow Autoencoders")."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories


class EaseConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.ease]`."""

    l2: float = Field(500.0, gt=0, description="ridge on the item-item counts")
    decay: float = Field(0.8, gt=0, le=1, description="weight of an event against the one after it")
    max_items: int = Field(6000, ge=1, description="left out for larger catalogues: it inverts an items x items matrix")


class Ease(DenseRetriever):
    """score = history @ B, B = I - P diag(1/diag P), P = (X'X + l2 I)^-1."""

    label, evidence = "Chosen together, weighed", "together"
    config: EaseConfig
    weights: torch.Tensor
    """(items, items) with an empty diagonal."""

    @classmethod
    def fit(cls, config: EaseConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        users = sequences.matrix()
        users.data[:] = 1.0
        gram = torch.from_numpy((users.T @ users).toarray())
        gram.diagonal().add_(config.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse / -inverse.diagonal()
        weights.fill_diagonal_(0)
        return cls(config, weights)

    def score(self, histories: Histories) -> Floats:
        return np.asarray(histories.sequences.matrix(self.config.decay) @ self.weights.numpy(), dtype=np.float32)

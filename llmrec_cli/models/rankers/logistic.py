"""A probability for each candidate on its own: logistic regression against sampled candidates that were not chosen."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel, Field

from llmrec_cli.models.checkpoints import Tensors
from llmrec_cli.models.rankers import Floats
from llmrec_cli.models.rankers.fusion import labelled, standardisation
from llmrec_cli.tables.features import Candidates


class LogisticConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.logistic]`."""

    negatives: int = Field(20, ge=1, description="candidates that were not chosen, sampled for each that was")
    c: float = Field(1.0, gt=0, description="inverse of the ridge")
    max_users: int = Field(6000, ge=1, description="users that the weights are fitted on at most")


class Logistic:
    """score = log odds, with the sampling of negatives taken back out of the intercept (King and Zeng 2001)."""

    Config = LogisticConfig
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: LogisticConfig, mean: Floats, std: Floats, weights: Floats, intercept: float) -> None:
        self.config, self.mean, self.std, self.weights, self.intercept = config, mean, std, weights, intercept

    @classmethod
    def fit(cls, config: LogisticConfig, candidates: Candidates, seed: int) -> Self:
        from sklearn.linear_model import LogisticRegression

        mean, std = standardisation(candidates)
        sample = labelled(candidates, config.max_users, seed)
        if sample.label is None or len(sample) == sample.n_users:
            return cls(config, mean, std, np.zeros_like(mean), 0.0)
        rng = np.random.default_rng([seed, len(sample)])
        share = min(1.0, config.negatives * sample.n_users / (len(sample) - sample.n_users))
        rows = sample.label | (rng.random(len(sample)) < share)
        x = (sample.features[rows] - mean) / std
        model = LogisticRegression(C=config.c, max_iter=200, tol=1e-3).fit(x, sample.label[rows])
        intercept = float(model.intercept_[0] + np.log(share))
        return cls(config, mean, std, model.coef_[0].astype(np.float32), intercept)

    def score(self, candidates: Candidates) -> Floats:
        scaled = self.weights / self.std
        return (candidates.features @ scaled + (self.intercept - self.mean @ scaled)).astype(np.float32)

    def importance(self) -> Floats:
        return np.abs(self.weights)

    def tensors(self) -> Tensors:
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("mean", "std", "weights")}
        return {**arrays, "intercept": torch.tensor(self.intercept, dtype=torch.float64)}

    @classmethod
    def restore(cls, config: LogisticConfig, tensors: Tensors) -> Self:
        mean, std, weights = (tensors[name].numpy() for name in ("mean", "std", "weights"))
        return cls(config, mean, std, weights, float(tensors["intercept"]))

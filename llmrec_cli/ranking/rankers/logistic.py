"""A probability for each candidate on its own: logistic regression against sampled candidates that were not chosen."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.rankers.conditional_logit import LinearRanker, labelled, spreads, standardisation


class LogisticConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.ranker.logistic]`."""

    negatives: int = Field(20, ge=1, description="candidates that were not chosen, sampled for each that was")
    c: float = Field(1.0, gt=0, description="inverse of the ridge")
    max_users: int = Field(6000, ge=1, description="users that the weights are fitted on at most")


class Logistic(LinearRanker):
    """score = log odds, with the sampling of negatives taken back out of the intercept (King and Zeng 2001)."""

    config: LogisticConfig
    intercept: float

    @classmethod
    def fit(cls, config: LogisticConfig, candidates: Candidates, seed: int) -> Self:
        from sklearn.linear_model import LogisticRegression

        mean, std = standardisation(candidates)
        sample = labelled(candidates, config.max_users, seed)
        if sample.label is None or len(sample) == sample.n_users:
            return cls(config, mean, std, np.zeros_like(mean), np.zeros_like(mean), 0.0)
        rng = np.random.default_rng([seed, len(sample)])
        share = min(1.0, config.negatives * sample.n_users / (len(sample) - sample.n_users))
        rows = sample.label | (rng.random(len(sample)) < share)
        x = (sample.features[rows] - mean) / std
        model = LogisticRegression(C=config.c, max_iter=200, tol=1e-3).fit(x, sample.label[rows])
        intercept = float(model.intercept_[0] + np.log(share))
        weights = model.coef_[0].astype(np.float32)
        spread = spreads((sample.features - mean) / std, weights, sample.names, sample.offsets)
        return cls(config, mean, std, weights, spread, intercept)

    def score(self, candidates: Candidates) -> Floats:
        return super().score(candidates) + np.float32(self.intercept)

"""A probability for each candidate on its own: logistic regression against sampled candidates that were not chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.ranking.features import Candidates
from llmrec_cli.ranking.rankers.conditional_logit import centred, labelled, spreads, standardisation
from llmrec_cli.tensors.checkpoints import Tensors


class LogisticConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.logistic]`."""

    negatives: int = Field(20, ge=1, description="candidates that were not chosen, sampled for each that was")
    c: float = Field(1.0, gt=0, description="inverse of the ridge")
    max_users: int = Field(6000, ge=1, description="users that the weights are fitted on at most")


class Logistic:
    """score = log odds, with the sampling of negatives taken back out of the intercept (King and Zeng 2001)."""

    Config = LogisticConfig
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: LogisticConfig, arrays: Mapping[str, Floats], intercept: float) -> None:
        """`arrays` are mean, std, weights and spread (as `spreads` has it), each (features,)."""
        self.config, self.arrays, self.intercept = config, dict(arrays), intercept

    @classmethod
    def fit(cls, config: LogisticConfig, candidates: Candidates, seed: int) -> Self:
        from sklearn.linear_model import LogisticRegression

        mean, std = standardisation(candidates)
        arrays = {"mean": mean, "std": std, "weights": np.zeros_like(mean), "spread": np.zeros_like(mean)}
        sample = labelled(candidates, config.max_users, seed)
        if sample.label is None or len(sample) == sample.n_users:
            return cls(config, arrays, 0.0)
        rng = np.random.default_rng([seed, len(sample)])
        share = min(1.0, config.negatives * sample.n_users / (len(sample) - sample.n_users))
        rows = sample.label | (rng.random(len(sample)) < share)
        x = (sample.features[rows] - mean) / std
        model = LogisticRegression(C=config.c, max_iter=200, tol=1e-3).fit(x, sample.label[rows])
        intercept = float(model.intercept_[0] + np.log(share))
        arrays["weights"] = model.coef_[0].astype(np.float32)
        standard = (sample.features - mean) / std
        arrays["spread"] = spreads(standard, arrays["weights"], sample.names, sample.offsets)
        return cls(config, arrays, intercept)

    def score(self, candidates: Candidates) -> Floats:
        scaled = self.arrays["weights"] / self.arrays["std"]
        return (candidates.features @ scaled + (self.intercept - self.arrays["mean"] @ scaled)).astype(np.float32)

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        return centred(candidates, rows) * (self.arrays["weights"] / self.arrays["std"])

    def importance(self) -> Floats:
        return self.arrays["spread"]

    def tensors(self) -> Tensors:
        arrays = {name: torch.from_numpy(values) for name, values in self.arrays.items()}
        return {**arrays, "intercept": torch.tensor(self.intercept, dtype=torch.float64)}

    @classmethod
    def restore(cls, config: LogisticConfig, tensors: Tensors) -> Self:
        arrays = {name: values.numpy() for name, values in tensors.items() if name != "intercept"}
        return cls(config, arrays, float(tensors["intercept"]))

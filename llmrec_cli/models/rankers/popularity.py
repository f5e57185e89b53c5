"""The candidates by popularity: what a ranker has to beat."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel

from llmrec_cli.models.checkpoints import Tensors
from llmrec_cli.models.rankers import Floats
from llmrec_cli.tables.features import Candidates


class PopularityConfig(BaseModel, frozen=True):
    """Nothing to set; the settings of `[train-ranker.popularity]` are those of the source."""


class PopularityRanker:
    """score = log(1 + events of the item)."""

    Config = PopularityConfig
    needs: ClassVar[tuple[str, ...]] = ("popularity",)

    def __init__(self, config: PopularityConfig, n_features: int) -> None:
        self.config, self.n_features = config, n_features

    @classmethod
    def fit(cls, config: PopularityConfig, candidates: Candidates, seed: int) -> Self:
        return cls(config, len(candidates.names))

    def score(self, candidates: Candidates) -> Floats:
        return candidates.column("popularity.raw")

    def importance(self) -> Floats:
        return np.zeros(self.n_features, dtype=np.float32)

    def tensors(self) -> Tensors:
        return {"n_features": torch.tensor(self.n_features)}

    @classmethod
    def restore(cls, config: PopularityConfig, tensors: Tensors) -> Self:
        return cls(config, int(tensors["n_features"]))

"""The candidates by popularity: what a ranker has to beat."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.ranking.features import Candidates
from llmrec_cli.tensors.checkpoints import Tensors


class OneFeatureConfig(BaseModel, frozen=True):
    """Nothing to set; what the section of this name holds are the settings of the source."""


class PopularityRanker:
    """score = log(1 + events of the item), as the source `popularity` has it; nothing is learnt from the labels."""

    Config = OneFeatureConfig
    needs: ClassVar[tuple[str, ...]] = ("popularity",)
    feature: ClassVar[str] = "popularity.raw"

    def __init__(self, config: OneFeatureConfig, importance: Floats) -> None:
        """`importance` (features,) is 1 for the one feature that is read."""
        self.config, self._importance = config, importance

    @classmethod
    def fit(cls, config: OneFeatureConfig, candidates: Candidates, seed: int) -> Self:
        return cls(config, np.array([name == cls.feature for name in candidates.names], dtype=np.float32))

    def score(self, candidates: Candidates) -> Floats:
        return candidates.column(self.feature)

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        """The one feature as it is: there is no other that could carry a row."""
        return np.abs(candidates.features[rows]) * self._importance

    def importance(self) -> Floats:
        return self._importance

    def tensors(self) -> Tensors:
        return {"importance": torch.from_numpy(self._importance)}

    @classmethod
    def restore(cls, config: OneFeatureConfig, tensors: Tensors) -> Self:
        return cls(config, tensors["importance"].numpy())

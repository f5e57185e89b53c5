"""The candidates by their probability under a topic model of choice."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel

from llmrec_cli.models.checkpoints import Tensors
from llmrec_cli.models.rankers import Floats
from llmrec_cli.tables.features import Candidates


class LdaRankerConfig(BaseModel, frozen=True):
    """Nothing to set; the settings of `[train-ranker.lda]` are those of the source."""


class LdaRanker:
    """score = log P(i | u) as the source `lda` has it (Blei et al. 2003); nothing is learnt from the labels."""

    Config = LdaRankerConfig
    needs: ClassVar[tuple[str, ...]] = ("lda",)

    def __init__(self, config: LdaRankerConfig, importance: Floats) -> None:
        """`importance` (features,) is 1 for the one feature that is read."""
        self.config, self._importance = config, importance

    @classmethod
    def fit(cls, config: LdaRankerConfig, candidates: Candidates, seed: int) -> Self:
        return cls(config, np.array([name == "lda.raw" for name in candidates.names], dtype=np.float32))

    def score(self, candidates: Candidates) -> Floats:
        return candidates.column("lda.raw")

    def importance(self) -> Floats:
        return self._importance

    def tensors(self) -> Tensors:
        return {"importance": torch.from_numpy(self._importance)}

    @classmethod
    def restore(cls, config: LdaRankerConfig, tensors: Tensors) -> Self:
        return cls(config, tensors["importance"].numpy())

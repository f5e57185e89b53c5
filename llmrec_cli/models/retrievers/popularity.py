"""The most frequent items, the same for everybody: the baseline that everything has to beat."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel

from llmrec_cli.models.checkpoints import Tensors
from llmrec_cli.models.retrievers import Floats, Histories
from llmrec_cli.tables.catalogue import Catalogue
from llmrec_cli.tables.sequences import Sequences


class PopularityConfig(BaseModel, frozen=True, extra="forbid"):
    """Nothing to set."""


class Popularity:
    """score = log(1 + events of the item)."""

    Config = PopularityConfig
    signed = True

    def __init__(self, config: PopularityConfig, scores: Floats) -> None:
        self.config, self.scores = config, scores

    @classmethod
    def fit(cls, config: PopularityConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        return cls(config, np.log1p(sequences.counts()).astype(np.float32))

    def score(self, histories: Histories) -> Floats:
        return np.repeat(self.scores[None], len(histories), axis=0)

    def tensors(self) -> Tensors:
        return {"scores": torch.from_numpy(self.scores)}

    @classmethod
    def restore(cls, config: PopularityConfig, tensors: Tensors) -> Self:
        return cls(config, tensors["scores"].numpy())

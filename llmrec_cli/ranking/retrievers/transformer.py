"""The sequence transformer as a candidate source: its vector of a history against its item table."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel

from llmrec_cli.core.arrays import Floats
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.tensors.checkpoints import Tensors


class SequenceConfig(BaseModel, frozen=True, extra="forbid"):
    """Nothing to set: the model was trained by `pretrain`."""


class SequenceRetriever:
    """score = log softmax of the model's logits."""

    Config = SequenceConfig
    signed = True

    def __init__(self, config: SequenceConfig, items: torch.Tensor) -> None:
        """`items` (items, d) is the model's item table."""
        self.config, self.items = config, items

    @classmethod
    def fit(cls, config: SequenceConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        return cls(config, torch.from_numpy(np.ascontiguousarray(catalogue.vectors)))

    def score(self, histories: Histories) -> Floats:
        logits = torch.from_numpy(np.ascontiguousarray(histories.vectors)) @ self.items.T
        return logits.log_softmax(1).numpy()

    def tensors(self) -> Tensors:
        return {"items": self.items}

    @classmethod
    def restore(cls, config: SequenceConfig, tensors: Tensors) -> Self:
        return cls(config, tensors["items"])

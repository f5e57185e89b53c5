"""The sequence transformer as a retriever: its vector of a history against its item table."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from llmrec_cli.core.arrays import Floats
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.dot_products import ProductRetriever


class SequenceRetriever(ProductRetriever):
    """score = log softmax of the model's logits. Nothing to set: the model was trained by `pretrain`."""

    label, evidence, softmax = "Sequence model", "followed", True
    items: torch.Tensor
    """(items, d) the model's item table."""

    @classmethod
    def fit(cls, config: Any, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        return cls(config, torch.from_numpy(np.ascontiguousarray(catalogue.vectors)))

    def item_vectors(self) -> torch.Tensor:
        return self.items

    def user_vectors(self, histories: Histories) -> Floats:
        return np.ascontiguousarray(histories.vectors)

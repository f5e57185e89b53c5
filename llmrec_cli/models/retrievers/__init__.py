"""Candidate sources: each scores the whole catalogue for a block of users.

To add one: a file here with its `Config` and class, a line in RETRIEVERS, and the contract tests run over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from llmrec_cli.tables.catalogue import Catalogue
from llmrec_cli.tables.sequences import Sequences

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Histories:
    """A block of users as retrievers see them: what they did, and the sequence model's vector for it."""

    sequences: Sequences
    vectors: Floats
    """(users, d) encoded histories."""

    def block(self, start: int, stop: int) -> Histories:
        return Histories(self.sequences.select(np.arange(start, stop)), self.vectors[start:stop])


class Retriever(Protocol):
    """A candidate source. `config` is its frozen pydantic settings."""

    config: Any

    @classmethod
    def fit(cls, config: Any, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        """Learn from whole histories."""
        ...

    def score(self, histories: Histories) -> Floats:
        """(users, items) finite scores, higher is better; works for users without events and items without any."""
        ...

    def save(self, folder: Path) -> None:
        """`config.json` and `*.safetensors`; no pickle."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...


RETRIEVERS = {
    "sequence": "llmrec_cli.models.retrievers.sequence:SequenceRetriever",
    "transitions": "llmrec_cli.models.retrievers.transitions:Transitions",
    "itemknn": "llmrec_cli.models.retrievers.knn:ItemKNN",
    "ease": "llmrec_cli.models.retrievers.ease:Ease",
    "als": "llmrec_cli.models.retrievers.als:Als",
    "content": "llmrec_cli.models.retrievers.content:Content",
    "popularity": "llmrec_cli.models.retrievers.popularity:Popularity",
}

"""Rankers: each orders the candidates that the retrievers brought together.

To add one: a file here with its `Config` and class, a line in RANKERS, and the contract tests run over it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from llmrec_cli.tables.features import Candidates

Floats = npt.NDArray[np.float32]


class Ranker(Protocol):
    """Orders candidates. `config` is its frozen pydantic settings."""

    config: Any

    @classmethod
    def fit(cls, config: Any, candidates: Candidates, seed: int) -> Self:
        """Learn from candidates with labels (`candidates.label`, one relevant row a user at most)."""
        ...

    def score(self, candidates: Candidates) -> Floats:
        """(rows,) finite scores; only their order within a user means something."""
        ...

    def importance(self) -> Floats:
        """(features,) how much each feature counts, in the order of `candidates.names`; zeros where it has no meaning."""
        ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...


RANKERS = {
    "popularity": "llmrec_cli.models.rankers.popularity:PopularityRanker",
    "fusion": "llmrec_cli.models.rankers.fusion:Fusion",
    "lambdarank": "llmrec_cli.models.rankers.lambdarank:LambdaRank",
    "mf": "llmrec_cli.models.rankers.mf:MatrixFactorisation",
    "mf-deep": "llmrec_cli.models.rankers.mf_deep:NeuralMatrixFactorisation",
    "logistic": "llmrec_cli.models.rankers.logistic:Logistic",
}

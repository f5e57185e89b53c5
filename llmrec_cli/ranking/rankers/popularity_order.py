"""The candidates by popularity: what a ranker has to beat."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import RAW
from llmrec_cli.ranking.rankers import BaseRanker


class PopularityRanker(BaseRanker):
    """score = log(1 + events of the item), as the retriever `popularity` has it; nothing is learnt from the labels."""

    needs = ("popularity",)
    feature: ClassVar[str] = "popularity" + RAW
    used: Floats
    """(features,) 1 for the one feature that is read."""

    @classmethod
    def fit(cls, config: Any, candidates: Candidates, seed: int) -> Self:
        return cls(config, np.array([name == cls.feature for name in candidates.names], dtype=np.float32))

    def score(self, candidates: Candidates) -> Floats:
        return candidates.column(self.feature)

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        """The one feature as it is: there is no other that could carry a row."""
        return np.abs(candidates.features[rows]) * self.used

    def importance(self) -> Floats:
        return self.used

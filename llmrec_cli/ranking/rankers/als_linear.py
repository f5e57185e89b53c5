"""Matrix factorisation as a ranker: the product of user and item factors and an item bias, weighed on validation."""

from __future__ import annotations

from typing import Self

import numpy as np

from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import family
from llmrec_cli.ranking.rankers.conditional_logit import Fusion, FusionConfig


class AlsLinear(Fusion):
    """score = a x <p_u, q_i> + b_i: the factors of the retriever `als` with a popularity bias (Koren et al. 2009)."""

    needs = ("als", "popularity")

    @classmethod
    def fit(cls, config: FusionConfig, candidates: Candidates, seed: int, columns: object = None) -> Self:
        used = np.flatnonzero([family(name) in cls.needs for name in candidates.names])
        return super().fit(config, candidates, seed, used)

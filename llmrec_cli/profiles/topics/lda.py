"""Latent Dirichlet allocation (Blei et al., 2003) by online variational Bayes (Hoffman et al., 2010)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.profiles.topics import Topics
from llmrec_cli.profiles.topics.naming import named


class LdaConfig(BaseModel, frozen=True, extra="forbid"):
    n_topics: int = Field(8, ge=1, description="how many topics")
    n_words: int = Field(8, ge=1, description="leading words kept of each topic")
    epochs: int = Field(4, ge=1, description="passes over the users that topics are learnt from")
    fit_users: int = Field(4000, ge=1, description="topics are learnt from a sample of this many users")


class Lda:
    """Users are documents, the tags of their items are words."""

    Config = LdaConfig

    def __init__(self, config: LdaConfig) -> None:
        self.config = config

    def find(self, counts: sp.csr_matrix, words: Sequence[str], seed: int) -> Topics:
        from sklearn.decomposition import LatentDirichletAllocation

        documents = np.flatnonzero(np.diff(counts.indptr))
        n_topics = self.config.n_topics
        if not len(documents):
            return Topics.none(counts.shape[0])
        sample = np.random.default_rng([seed, 1]).permutation(documents)[: self.config.fit_users]
        model = LatentDirichletAllocation(
            n_topics,
            learning_method="online",
            max_iter=self.config.epochs,
            batch_size=min(256, max(16, len(sample) // 16)),  # small data need updates more than large batches
            max_doc_update_iter=20,
            total_samples=len(sample),
            random_state=seed,
        )
        model.fit(counts[sample].astype(np.float64))
        shares = model.transform(counts[documents].astype(np.float64))
        return named(model.components_, shares, documents, counts, words, n_words=self.config.n_words)

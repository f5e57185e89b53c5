"""Non-negative matrix factorisation (Lee & Seung, 1999) of TF-IDF weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Doubles
from llmrec_cli.profiles.topics import Topics
from llmrec_cli.profiles.topics.naming import named


class NmfConfig(BaseModel, frozen=True, extra="forbid"):
    n_topics: int = Field(8, ge=1, description="how many topics")
    n_words: int = Field(8, ge=1, description="leading words kept of each topic")
    iterations: int = Field(200, ge=1, description="passes of coordinate descent, at most")
    fit_users: int = Field(4000, ge=1, description="topics are learnt from a sample of this many users")


class Nmf:
    """Users are documents, the tags of their items are words; frequent words count less than in LDA."""

    Config = NmfConfig

    def __init__(self, config: NmfConfig) -> None:
        self.config = config

    def find(self, counts: sp.csr_matrix, words: Sequence[str], seed: int) -> Topics:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.feature_extraction.text import TfidfTransformer

        documents = np.flatnonzero(np.diff(counts.indptr))
        n_topics = self.config.n_topics
        if not len(documents):
            return Topics.none(counts.shape[0])
        weights = TfidfTransformer(sublinear_tf=True).fit_transform(counts[documents].astype(np.float64))
        sample = np.random.default_rng([seed, 1]).permutation(len(documents))[: self.config.fit_users]
        # the start from singular vectors has no more topics than there are of those
        start = "nndsvda" if n_topics <= min(len(sample), len(words)) else "random"
        model = NMF(n_topics, init=start, max_iter=self.config.iterations, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the leading words settle before the weights do
            model.fit(weights[sample])
            amounts = model.transform(weights)
        shares = _shares(amounts * model.components_.sum(axis=1))
        return named(model.components_, shares, documents, counts, words, n_words=self.config.n_words)


def _shares(amounts: Doubles) -> Doubles:
    """Rows that sum to 1; equal shares where no topic explains a user."""
    totals = amounts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, amounts / np.where(totals > 0, totals, 1), 1 / amounts.shape[1])

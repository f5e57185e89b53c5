"""Topics of items as a probability model of choice: latent Dirichlet allocation of histories."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field
from scipy.special import digamma

from llmrec_cli.core.arrays import Doubles, Floats
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories


class LdaConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.lda]`."""

    topics: int = Field(40, ge=1, description="topics; never more than every second item")
    epochs: int = Field(10, ge=1, description="passes over the users that topics are learnt from")
    fit_users: int = Field(20000, ge=1, description="topics are learnt from a sample of this many users")
    decay: float = Field(0.9, gt=0, le=1, description="weight of an event against the one after it, at scoring")
    steps: int = Field(20, ge=1, description="updates of a user's topics at scoring")


class Lda(DenseRetriever):
    """score = log P(i | u), P(i | u) = sum over topics t of P(t | u) P(i | t); users are documents, items are words.

    Blei et al. (2003); P(i | t) is learnt by online variational Bayes (Hoffman et al. 2010). P(t | u) is inferred anew
    from the history at scoring, so it is there for new users too; without events it is the prior. Each row of
    exp(score) sums to 1.
    """

    signed, label, evidence = True, "Topics of choices", "together"
    config: LdaConfig
    components: Doubles
    """(topics, items) the Dirichlet parameters of the topics."""

    def __post_init__(self) -> None:
        self.of_topics = self.components / self.components.sum(axis=1, keepdims=True)

    @classmethod
    def fit(cls, config: LdaConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        from sklearn.decomposition import LatentDirichletAllocation

        counts = sequences.matrix().astype(np.float64)
        users = np.flatnonzero(np.diff(counts.indptr))
        topics = max(1, min(config.topics, sequences.n_items // 2))
        if not len(users):
            return cls(config, np.ones((topics, sequences.n_items)))
        sample = np.random.default_rng([seed, 2]).permutation(users)[: config.fit_users]
        model = LatentDirichletAllocation(
            topics,
            learning_method="online",
            max_iter=config.epochs,
            batch_size=min(256, max(16, len(sample) // 16)),  # small data need updates more than large batches
            max_doc_update_iter=20,
            total_samples=len(sample),
            random_state=seed,
        )
        return cls(config, model.fit(counts[sample]).components_)

    def score(self, histories: Histories) -> Floats:
        weights = histories.sequences.matrix(self.config.decay).astype(np.float64)
        shares = topic_shares(weights, self.components, self.config.steps)
        return np.log(np.maximum(shares @ self.of_topics, 1e-30)).astype(np.float32)


def topic_shares(counts: sp.csr_matrix, components: Doubles, steps: int) -> Doubles:
    """(users, topics) P(t | u) of histories `counts` (users, items): the mean of the variational Dirichlet.

    `components` (topics, items) are Dirichlet parameters; the prior of a user is 1 / topics for each, as at fitting.
    """
    topics = len(components)
    words = np.exp(digamma(components) - digamma(components.sum(axis=1, keepdims=True))).T[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    gamma = np.ones((counts.shape[0], topics))
    for _ in range(steps):
        topic = np.exp(digamma(gamma) - digamma(gamma.sum(axis=1, keepdims=True)))
        share = counts.data / np.maximum(np.einsum("nt,nt->n", topic[rows], words), 1e-100)
        weighted = sp.csr_matrix((share, np.arange(len(rows)), counts.indptr), shape=(counts.shape[0], len(rows)))
        gamma = 1 / topics + topic * (weighted @ words)
    shares: Doubles = gamma / gamma.sum(axis=1, keepdims=True)
    return shares

"""Latent Dirichlet allocation (Blei et al., 2003) by online variational Bayes (Hoffman et al., 2010)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.models.topics import Topics

Doubles = npt.NDArray[np.float64]

# Weight of a word's probability against its lift when words are ordered: the optimum that readers
# agreed on in Sievert & Shirley (2014), "LDAvis".
RELEVANCE = 0.6
LABEL_WORDS = 3


class LdaConfig(BaseModel, frozen=True, extra="forbid"):
    n_topics: int = Field(0, ge=0, description="how many topics; 0 chooses by the number of users and tags")
    n_words: int = Field(8, ge=1, description="leading words kept of each topic")
    epochs: int = Field(4, ge=1, description="passes over the users that topics are learnt from")
    fit_users: int = Field(4000, ge=1, description="topics are learnt from a sample of this many users")


class Lda:
    """Users are documents, the tags of their items are words."""

    def __init__(self, config: LdaConfig) -> None:
        self.config = config

    def find(self, counts: sp.csr_matrix, words: Sequence[str], seed: int) -> Topics:
        from sklearn.decomposition import LatentDirichletAllocation

        documents = np.flatnonzero(np.diff(counts.indptr))
        n_topics = self.config.n_topics or _fitting_number(len(documents), len(words))
        if not len(documents):
            return Topics([], [], np.zeros((counts.shape[0], 0), dtype=np.float32))
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
        of_users = np.zeros((counts.shape[0], n_topics), dtype=np.float32)
        of_users[documents] = model.transform(counts[documents].astype(np.float64))
        ordered = _leading_words(model.components_, np.asarray(counts.sum(axis=0)).reshape(-1), words)
        return Topics(_labels(ordered), [row[: self.config.n_words] for row in ordered], of_users)


def _fitting_number(n_users: int, n_words: int) -> int:
    """About 8 for hundreds of users, 16 for tens of thousands; never more than every second word."""
    return max(1, min(4 + int(n_users**0.25), n_words // 2, 30))


def _leading_words(components: Doubles, totals: Doubles, words: Sequence[str]) -> list[list[str]]:
    """For each topic all words that occur in it, the most relevant first."""
    of_topic = components / components.sum(axis=1, keepdims=True)
    overall = np.maximum(totals / totals.sum(), 1e-12)
    relevance = RELEVANCE * np.log(of_topic) + (1 - RELEVANCE) * np.log(of_topic / overall)
    order = np.argsort(-relevance, axis=1, kind="stable")
    return [[words[code] for code in row] for row in order]


def _labels(ordered: Sequence[Sequence[str]]) -> list[str]:
    """ "a, b & c" of each topic; with one word more, then a number, where another topic has the same label."""
    labels: list[str] = []
    for words in ordered:
        tries = [_joined(words[:n]) for n in range(LABEL_WORDS, len(words) + 1)] or [_joined(words)]
        tries += [f"{tries[0]} ({n})" for n in range(2, len(ordered) + 2)]
        labels.append(next(label for label in tries if label not in labels))
    return labels


def _joined(words: Sequence[str]) -> str:
    return " & ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]

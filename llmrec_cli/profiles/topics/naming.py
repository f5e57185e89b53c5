"""What a topic is called: its leading words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Doubles, Ints
from llmrec_cli.profiles.topics import Topics

# Weight of a word's probability against its lift when words are ordered: the optimum that readers
# agreed on in Sievert & Shirley (2014), "LDAvis".
RELEVANCE = 0.6
LABEL_WORDS = 3


def leading_words(components: Doubles, totals: Doubles, words: Sequence[str]) -> list[list[str]]:
    """For each topic all words, the most relevant first; `components` (topics, words) and `totals` (words,) are >= 0.

    Relevance is that of Sievert & Shirley (2014).
    """
    of_topic = np.maximum(components / np.maximum(components.sum(axis=1, keepdims=True), 1e-12), 1e-12)
    overall = np.maximum(totals / totals.sum(), 1e-12)
    relevance = RELEVANCE * np.log(of_topic) + (1 - RELEVANCE) * np.log(of_topic / overall)
    order = np.argsort(-relevance, axis=1, kind="stable")
    return [[words[code] for code in row] for row in order]


def labels(ordered: Sequence[Sequence[str]]) -> list[str]:
    """ "a, b & c" of each topic; with one word more, then a number, where another topic has the same label."""
    found: list[str] = []
    for words in ordered:
        tries = [_joined(words[:n]) for n in range(LABEL_WORDS, len(words) + 1)] or [_joined(words)]
        tries += [f"{tries[0]} ({n})" for n in range(2, len(ordered) + 2)]
        found.append(next(label for label in tries if label not in found))
    return found


def _joined(words: Sequence[str]) -> str:
    return " & ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def named(
    components: Doubles, shares: Doubles, documents: Ints, counts: sp.csr_matrix, words: Sequence[str], *, n_words: int
) -> Topics:
    """Topics from what a model learnt: components (topics, words) and, of the users `documents`, shares (n, topics)."""
    of_users = np.zeros((counts.shape[0], shares.shape[1]), dtype=np.float32)
    of_users[documents] = shares
    ordered = leading_words(components, np.asarray(counts.sum(axis=0)).reshape(-1), words)
    return Topics(labels(ordered), [row[:n_words] for row in ordered], of_users)

"""How well the words of topics go together, by normalised pointwise mutual information: how many topics there are, and
whether they are more than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Doubles
from llmrec_cli.profiles.topics import Topics

SIZES = (4, 8, 12, 16, 24)
USERS = 2000
"""Half of so many users are learned from, the other half measured, to choose the number of topics."""
LEAST, ABOVE_CHANCE = 0.1, 0.05
"""NPMI of what is shown at least, and how far above that of a log in which the same users have words by chance."""


@dataclass(frozen=True)
class Chosen:
    """The topics that are more than chance, maybe none."""

    topics: Topics
    coherence: Doubles
    """(topics,) NPMI of the words of each."""
    line: str


def coherent(kind: Any, n_topics: int, counts: sp.csr_matrix, words: Sequence[str], seed: int) -> Chosen:
    """Topics of `counts` (users, words) by a class of topic models, as many as set, with 0 as many as cohere best.

    Each number is learned on one half of the users and measured on the other. Nothing is shown where the best number
    is at chance there; of the topics of all users, those at chance are left out.
    """
    documents = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(np.diff(counts.indptr)))[:USERS]
    learned, others = counts[documents[::2]], counts[documents[1::2]]
    chance = shuffled(others, seed)
    measured: dict[int, tuple[float, float]] = {}
    for n in (n_topics,) if n_topics else [n for n in SIZES if 2 * n <= len(words)]:
        found = kind(kind.Config(n_topics=n)).find(learned, words, seed).words
        if any(len(each) > 1 for each in found):
            seen, usual = (float(np.nanmean(npmi(log, words, found))) for log in (others, chance))
            measured[n] = seen, usual
    if not measured:
        return Chosen(Topics.none(counts.shape[0]), np.zeros(0), "no topics: there are too few tags and words")
    best = max(measured, key=lambda n: (np.subtract(*measured[n]), -n))
    seen, usual = measured[best]
    measure = f"NPMI of their words on users not learned from {seen:+.3f}, by chance {usual:+.3f}"
    topics = kind(kind.Config(n_topics=best)).find(counts, words, seed)
    coherence = npmi(counts, words, topics.words)
    kept = (coherence >= LEAST) & (coherence >= npmi(chance, words, topics.words) + ABOVE_CHANCE)
    kept &= (seen >= LEAST) & (seen >= usual + ABOVE_CHANCE)
    said = f"{kept.sum()} of {best} topics are" if kept.any() else "no topics are shown, they are no"
    return Chosen(topics.keep(kept), coherence[kept], f"{said} more than chance: {measure}")


def shuffled(counts: sp.csr_matrix, seed: int) -> sp.csr_matrix:
    """The same numbers of words of users and the same frequencies of words, but who has which is chance."""
    times = np.maximum(np.rint(counts.data), 1).astype(np.int64)
    users = np.repeat(np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), times)
    words = np.random.default_rng([seed, 3]).permutation(np.repeat(counts.indices, times))
    return sp.csr_matrix((np.ones(len(words)), (users, words)), shape=counts.shape)


def npmi(counts: sp.csr_matrix, words: Sequence[str], topics: Sequence[Sequence[str]]) -> Doubles:
    """(topics,) mean NPMI of the pairs of each topic's words: 1 always together, 0 as by chance, -1 never together.

    Probabilities are shares of the rows of `counts` (users, words) that have any word. NPMI is of Bouma (2009),
    "Normalized (pointwise) mutual information in collocation extraction"; as coherence of topics of Aletras & Stevenson
    (2013), "Evaluating topic coherence using distributional semantics". NaN for a topic of fewer than two words.
    """
    code = {word: place for place, word in enumerate(words)}
    used = sorted({code[word] for topic in topics for word in topic})
    there = counts[:, used].astype(bool).astype(np.float64)
    n_rows = max(int(np.count_nonzero(np.diff(counts.indptr))), 1)
    together = (there.T @ there).toarray() / n_rows  # (used, used): only leading words, so small
    alone = together.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(together / np.outer(alone, alone)) / -np.log(together)
    values[together == 0] = -1.0
    values[together >= 1] = 1.0  # both words in every row
    place = {words[column]: at for at, column in enumerate(used)}
    found = np.full(len(topics), np.nan)
    for number, topic in enumerate(topics):
        at = [place[word] for word in topic]
        if len(at) > 1:
            found[number] = values[np.ix_(at, at)][np.triu_indices(len(at), 1)].mean()
    return found

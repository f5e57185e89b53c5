"""How well the words of a topic go together: coherence by normalised pointwise mutual information."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from llmrec_cli.core.arrays import Doubles


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

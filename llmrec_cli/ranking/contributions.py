"""What carries a row: the share of each retriever in the ranker's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.ranking import returned
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import Z, family
from llmrec_cli.ranking.rankers import Explains, Ranker, importance


def shares(
    ranker: Ranker, candidates: Candidates, rows: Ints, retrievers: Sequence[str], credited: Sequence[str]
) -> Floats:
    """(n, retrievers) what each retriever adds to the score of some candidates, by row number.

    A retriever that the ranker does not look at has -inf. With a ranker that cannot say it the `credited` retrievers
    carry a row, those that are not worse than popularity: each by the rank that it gives the row among the user's
    candidates.
    """
    if not isinstance(ranker, Explains):
        return _by_rank(candidates, rows, retrievers, credited)
    names = candidates.names
    features = returned.finite(ranker, "parts", ranker.parts(candidates, rows), (len(rows), len(names)))
    of = [family(name) for name in names]
    member = np.array([[name == retriever for retriever in retrievers] for name in of], dtype=np.float32)
    used = np.abs(importance(ranker, candidates)) @ member > 0
    if not used.any():
        return _by_rank(candidates, rows, retrievers, credited)
    return np.where(used, features @ member, np.float32(-np.inf)).astype(np.float32)


def _by_rank(candidates: Candidates, rows: Ints, retrievers: Sequence[str], credited: Sequence[str]) -> Floats:
    out = np.zeros((len(rows), len(retrievers)), dtype=np.float32)
    for column, retriever in enumerate(retrievers):
        if retriever in credited:
            out[:, column] = 1 / (1 + candidates.ranks(candidates.column(retriever + Z))[rows])
    return out

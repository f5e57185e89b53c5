"""The candidates by their probability under a topic model of choice."""

from __future__ import annotations

from llmrec_cli.ranking.features import RAW
from llmrec_cli.ranking.rankers.popularity_order import PopularityRanker


class LdaRanker(PopularityRanker):
    """score = log P(i | u) as the retriever `lda` has it (Blei et al. 2003); nothing is learnt from the labels."""

    needs = ("lda",)
    feature = "lda" + RAW

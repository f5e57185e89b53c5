"""The most frequent items, of all times or recently, the same for everybody: the baseline to beat."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Doubles, Floats
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.sparse_scores import SparseRetriever

DAY = 86_400


class PopularityConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.popularity]`. With both at 0 popularity is that of all times."""

    half_life: float = Field(0.0, ge=0, description="days in which an event comes to count half; 0 counts all alike")
    window: float = Field(0.0, ge=0, description="only events of the last so many days of the log; 0 takes all")


class Popularity(SparseRetriever):
    """score = log(1 + events of the item), each event weighted by its age at the end of the log."""

    signed, label = True, "Popular with everyone"
    config: PopularityConfig
    scores: Floats
    """(items,)"""

    @classmethod
    def fit(cls, config: PopularityConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        """SettingsError where recent popularity is asked for and the times of the events are not known."""
        each = np.ones(len(sequences.codes)) if sequences.weights is None else sequences.weights
        counts = np.bincount(sequences.codes, weights=each * _recency(config, sequences), minlength=sequences.n_items)
        return cls(config, np.log1p(counts).astype(np.float32))

    @classmethod
    def of(cls, sequences: Sequences) -> Self:
        """Of all times, by counts alone: what a comparison needs where nothing was fitted."""
        return cls(PopularityConfig(), np.log1p(sequences.counts()).astype(np.float32))

    def entries(self, histories: Histories) -> sp.csr_matrix:
        return sp.csr_matrix((len(histories), len(self.scores)), dtype=np.float32)

    def usual(self) -> Floats:
        return self.scores


def _recency(config: PopularityConfig, sequences: Sequences) -> Doubles | float:
    """(events,) how much each event counts by its age; 1 where all count alike."""
    if not config.half_life and not config.window:
        return 1.0
    if sequences.times is None:
        raise SettingsError(
            "recent popularity needs the time of every event, and some have none",
            where="train-ranker.retriever.popularity",
            fix="set clean.columns.time, or leave half_life and window at 0",
        )
    days = (sequences.times.max(initial=0) - sequences.times) / DAY
    weights = np.exp2(-days / config.half_life) if config.half_life else np.ones(len(days))
    return np.where(days <= config.window, weights, 0.0) if config.window else weights

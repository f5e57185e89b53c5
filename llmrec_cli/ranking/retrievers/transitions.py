"""What tends to follow what: counts of successors at several distances, weighted by how recent the history is."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Codes, Doubles, Floats, Ints
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.content_based import nearest_meanings
from llmrec_cli.ranking.retrievers.item_pairs import pair_values, row_maxima
from llmrec_cli.ranking.retrievers.sparse_scores import SparseRetriever


class TransitionsConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.transitions]`."""

    distances: int = Field(10, ge=1, description="successors up to this far count")
    power: float = Field(0.5, ge=0, description="a successor at distance d counts 1 / d**power")
    rate: float = Field(1.0, gt=0, le=1, description="and rate**(d - 1) times that; 1 leaves the power alone")
    tau: float = Field(0.0, ge=0, description="counts saturate beyond tau / items; 0 takes 50 √items")
    head: int = Field(7, ge=1, description="newest events that carry most of the weight")
    mass: float = Field(0.8, gt=0, le=1, description="weight of the newest events together")
    decay: float = Field(0.6, gt=0, le=1, description="weight of an event against the one after it, among the newest")
    history: int = Field(50, ge=1, description="newest events of a user that are looked at")
    popularity: float = Field(-0.05, description="weight of the log popularity of an item")


class Transitions(SparseRetriever):
    """PCTM: score = sum over the history of w x log(1 + C[h, item] x items / tau) + popularity x log p(item).

    Petrov et al. (RecSys 2026), a count model that matches trained sequence models on short histories.
    """

    label, evidence = "What people choose next", "followed"
    config: TransitionsConfig
    strength: sp.csr_matrix
    """(items, items)"""
    prior: Floats
    """(items,)"""

    def __post_init__(self) -> None:
        self.maxima = row_maxima(self.strength)

    @classmethod
    def fit(cls, config: TransitionsConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        config = config.model_copy(update={"tau": resolve_tau(config, sequences)})
        frequency = sequences.counts() + 1.0
        prior = config.popularity * np.log(frequency / frequency.sum())
        return cls(config, strengths(config, sequences), prior.astype(np.float32))

    def entries(self, histories: Histories) -> sp.csr_matrix:
        return recent_weights(histories.sequences, self.config) @ self.strength

    def usual(self) -> Floats:
        return self.prior

    def support(self, history: Codes, items: Codes) -> Floats:
        return pair_values(self.strength, history, items) / self.maxima[history]


class ContentTransitionsConfig(TransitionsConfig, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.content-transitions]`."""

    neighbours: int = Field(20, ge=1, description="items of like text whose successors count too")


class ContentTransitions(SparseRetriever):
    """Transitions that start from items whose text is like that of the history: reaches where the counts are thin."""

    label, evidence = "What people choose after similar items", "followed"
    config: ContentTransitionsConfig
    alike: sp.csr_matrix
    strength: sp.csr_matrix

    @classmethod
    def fit(cls, config: ContentTransitionsConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        config = config.model_copy(update={"tau": resolve_tau(config, sequences)})
        alike = nearest_meanings(sequences, catalogue, config.neighbours)
        alike.data **= 2
        total = np.maximum(np.asarray(alike.sum(1)).ravel(), 1e-6)
        mean = (sp.diags(1 / total) @ alike).tocsr().astype(np.float32)
        return cls(config, mean, strengths(config, sequences))

    def entries(self, histories: Histories) -> sp.csr_matrix:
        return recent_weights(histories.sequences, self.config) @ self.alike @ self.strength


def resolve_tau(config: TransitionsConfig, sequences: Sequences) -> float:
    """`tau`, also where it was left to the data."""
    return config.tau or 50.0 * _n_chosen(sequences) ** 0.5


def strengths(config: TransitionsConfig, sequences: Sequences) -> sp.csr_matrix:
    """(items, items) how strongly the item of a column tends to follow that of a row; counted once for both models."""
    key = "transitions", config.distances, config.power, config.rate, config.tau
    if key not in sequences.shared:
        sequences.shared[key] = _strengths(config, sequences)
    found: sp.csr_matrix = sequences.shared[key]
    return found


def _strengths(config: TransitionsConfig, sequences: Sequences) -> sp.csr_matrix:
    further = np.arange(config.distances)
    counts = sequences.successors(((1.0 + further) ** -config.power * config.rate**further).tolist())
    counts.data = np.log1p(counts.data * (_n_chosen(sequences) / config.tau)).astype(np.float32)
    return counts


def _n_chosen(sequences: Sequences) -> int:
    return max(int(np.count_nonzero(sequences.counts())), 1)


def recent_weights(sequences: Sequences, config: TransitionsConfig) -> sp.csr_matrix:
    """(users, items) weights, 1 a user: `mass` falls geometrically over the newest `head`, the rest is even."""
    recent = sequences.tail(config.history)
    ages = recent.ages
    lengths = np.repeat(recent.lengths, recent.lengths)
    newest = np.minimum(lengths, config.head)
    geometric = config.decay ** ages.astype(np.float64) * _geometric_share(newest, config.decay)
    long = lengths > config.head
    rest = (1 - config.mass) / np.maximum(lengths - config.head, 1)
    weights = np.where(ages < config.head, geometric * np.where(long, config.mass, 1.0), rest)
    matrix = sp.csr_matrix(
        (weights.astype(np.float32), recent.codes, recent.offsets), shape=(len(recent), recent.n_items)
    )
    matrix.sum_duplicates()
    return matrix


def _geometric_share(n: Ints, decay: float) -> Doubles:
    """1 / (1 + decay + ... + decay**(n - 1))."""
    total = n.astype(np.float64) if decay == 1 else (1 - np.power(decay, n)) / (1 - decay)
    shares: Doubles = 1 / total
    return shares

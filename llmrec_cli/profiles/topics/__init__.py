"""Topic models: what groups of tags go together in users' histories.

To add one: a file here with its `Config` and class, and a line in TOPIC_MODELS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel

from llmrec_cli.core.arrays import Bools, Floats


@dataclass(frozen=True)
class Topics:
    """Topics with what a person reads of them, and how much of each is in every user."""

    labels: list[str]
    """(topics,) distinct, made of the leading words."""
    words: list[list[str]]
    """(topics,) leading words, the most telling first."""
    of_users: Floats
    """(users, topics) shares that sum to 1; zero rows for users without words."""

    @property
    def shares(self) -> Floats:
        """(topics,) mean share over the users that have words."""
        some = self.of_users.sum(axis=1) > 0
        return self.of_users[some].mean(axis=0) if some.any() else self.of_users.sum(axis=0)

    def keep(self, some: Bools) -> Topics:
        """Some of the topics, (topics,), alone."""
        there = np.flatnonzero(some)
        return Topics([self.labels[n] for n in there], [self.words[n] for n in there], self.of_users[:, there])

    @classmethod
    def none(cls, n_users: int) -> Self:
        return cls([], [], np.zeros((n_users, 0), dtype=np.float32))


class TopicModel(Protocol):
    """Finds topics. `Config` is its frozen pydantic settings, `n_topics` among them."""

    Config: ClassVar[type[BaseModel]]
    config: Any

    def __init__(self, config: Any) -> None: ...

    def find(self, counts: sp.csr_matrix, words: Sequence[str], seed: int) -> Topics:
        """Topics of `counts` (users, words), which is not negative; the same seed gives the same topics."""
        ...


TOPIC_MODELS = {"lda": "llmrec_cli.profiles.topics.lda:Lda", "nmf": "llmrec_cli.profiles.topics.nmf:Nmf"}

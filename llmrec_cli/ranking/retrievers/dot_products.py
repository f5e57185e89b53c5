"""Retrievers whose score is the product of a user's and an item's vector."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

from llmrec_cli.core.arrays import Codes, Floats, Ints
from llmrec_cli.ranking.item_table import ITEMS, USERS, ItemTable, LogSums, Moments, dots
from llmrec_cli.ranking.retrievers import BaseRetriever, Excluded, Histories, Statistics


class ProductRetriever(BaseRetriever):
    """score = user's vector @ item's vector; with `softmax` the logarithm of the softmax of these over all items."""

    signed = True
    softmax: ClassVar[bool] = False

    @abstractmethod
    def item_vectors(self) -> torch.Tensor:
        """(items, d) float32."""

    @abstractmethod
    def user_vectors(self, histories: Histories) -> Floats:
        """(users, d) float32."""

    def top(self, histories: Histories, n: int, excluded: Excluded) -> tuple[Codes, Floats]:
        asked, table = self._asked(histories), self._table(excluded)
        wanted = self.softmax and asked.log_sums is None and table.hidden is None
        sums = LogSums(len(histories)) if wanted else None
        codes, scores = table.top(asked.vectors, n, excluded, sums)
        if sums is not None:
            asked.log_sums = sums.of_users()
        return codes, scores - self._less(histories)[:, None]

    def pairs(self, histories: Histories, users: Ints, items: Codes) -> Floats:
        vectors = self._asked(histories).vectors
        return dots(vectors, users, self.vectors_of_items, items) - self._less(histories)[users]

    def statistics(self, histories: Histories) -> Statistics:
        mean, std = self._moments.of_users(self._asked(histories).vectors)
        return Statistics(mean - self._less(histories), std)

    @cached_property
    def vectors_of_items(self) -> torch.Tensor:
        return self.item_vectors().contiguous()

    @cached_property
    def _moments(self) -> Moments:
        return Moments.of(self.vectors_of_items)

    def _table(self, excluded: Excluded) -> ItemTable:
        """The table for what may be brought; the last two are kept, for items with and those without events."""
        kept: list[ItemTable] = self.__dict__.setdefault("tables", [])
        for table in kept:
            if table.ties is excluded.ties and table.hidden is excluded.items:
                return table
        made = ItemTable(self.vectors_of_items, excluded.ties, excluded.items, exact=self.softmax)
        self.__dict__["tables"] = [*kept[-1:], made]
        return made

    def _asked(self, histories: Histories) -> Asked:
        return histories.once(self, lambda users: Asked(torch.from_numpy(self.user_vectors(users))))

    def _less(self, histories: Histories) -> Floats:
        """(users,) what is taken off the products: the log of the sum of their exp, or nothing."""
        asked = self._asked(histories)
        if asked.log_sums is None and self.softmax:
            asked.log_sums = log_sums(asked.vectors, self.vectors_of_items)
        return np.zeros(len(histories), dtype=np.float32) if asked.log_sums is None else asked.log_sums


class Asked:
    """The users of a block as they are multiplied."""

    def __init__(self, vectors: torch.Tensor) -> None:
        self.vectors = vectors
        self.log_sums: Floats | None = None


def log_sums(queries: torch.Tensor, vectors: torch.Tensor) -> Floats:
    """(users,) log of the sum of exp of a user's products with all items."""
    out = LogSums(len(queries))
    for start in range(0, len(queries), USERS):
        part = slice(start, start + USERS)
        for first in range(0, len(vectors), ITEMS):
            out.add(part, vectors[first : first + ITEMS] @ queries[part].T)
    return out.of_users()

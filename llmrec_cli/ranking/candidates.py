"""Candidates of users as one table of features: the shape in which every ranker reads its work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, offsets_of
from llmrec_cli.data.metrics import MISS
from llmrec_cli.data.ranks import falling_order


@dataclass(frozen=True)
class Candidates:
    """Rows of (user, item) with features; rows of a user stand together."""

    offsets: Ints
    """(users + 1,) where each user's rows begin."""
    items: Codes
    """(rows,) item codes."""
    features: Floats
    """(rows, features) finite values."""
    names: tuple[str, ...]
    """Name of each feature, as in `features.FEATURES`."""
    ties: Ints
    """(items,) `tie_order` of the whole catalogue."""
    label: Bools | None = None
    """(rows,) True for the item that came next; None when it is not known."""
    retriever_ranks: dict[str, Ints] = field(default_factory=dict)
    """Retriever -> (users,) the target's rank among the retriever's best, 0 = first; only where targets were given."""
    brought: Ints | None = None
    """(rows,) bit i is set where the i-th retriever brought the row, the bit after them for items that the user had;
    None where rows were given.
    """
    fitted: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What rankers fitted on this very table and share, by its settings; a table made from it begins without."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def users(self) -> Ints:
        """(rows,) the user of each row."""
        return np.repeat(np.arange(self.n_users), np.diff(self.offsets))

    def column(self, name: str) -> Floats:
        """(rows,) one feature; ValueError where there is none of that name."""
        return self.features[:, self.names.index(name)]

    def rows(self, users: Bools) -> Bools:
        """(rows,) which rows belong to the users of a (users,) mask."""
        return np.repeat(users, np.diff(self.offsets))

    def keep(self, rows: Bools) -> Candidates:
        """The table of some rows; users stay, with fewer rows or none."""
        lengths = np.bincount(self.users[rows], minlength=self.n_users)
        some = replace(self, offsets=offsets_of(lengths), items=self.items[rows], features=self.features[rows])
        label = None if self.label is None else self.label[rows]
        return replace(some, label=label, brought=None if self.brought is None else self.brought[rows])

    def without(self, columns: Bools) -> Candidates:
        """The table without some features, a mask of them."""
        names = tuple(name for name, gone in zip(self.names, columns, strict=True) if not gone)
        return replace(self, names=names, features=self.features[:, ~columns])

    def has_target(self) -> Bools:
        """(users,) whether the target is among the candidates."""
        found = np.zeros(self.n_users, dtype=bool)
        if self.label is not None:
            found[self.users[self.label]] = True
        return found

    def ranks(self, scores: npt.NDArray[np.floating]) -> Ints:
        """(rows,) the rank of each row among the user's rows by score, 0 = first."""
        users = self.users
        order = falling_order(users, scores, self.ties[self.items])
        out = np.empty(len(self), dtype=np.int64)
        out[order] = np.arange(len(self)) - self.offsets[users[order]]
        return out

    def target_ranks(self, scores: npt.NDArray[np.floating]) -> Ints:
        """(users,) the rank of the labelled row by score; MISS where the target is no candidate."""
        ranks = np.full(self.n_users, MISS, dtype=np.int64)
        if self.label is not None:
            ranks[self.users[self.label]] = self.ranks(scores)[self.label]
        return ranks


def join(parts: list[Candidates]) -> Candidates:
    """The users of all parts, one part after the other. Empties the list as it goes: a table is not held twice."""
    names, retrievers, ties = parts[0].names, tuple(parts[0].retriever_ranks), parts[0].ties
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    items = np.concatenate([part.items for part in parts])
    labels = [part.label for part in parts if part.label is not None]
    brought = [part.brought for part in parts if part.brought is not None]
    ranks = {name: np.concatenate([part.retriever_ranks[name] for part in parts]) for name in retrievers}
    features = np.empty((len(items), len(names)), dtype=np.float32)
    row = 0
    while parts:
        part = parts.pop(0)
        features[row : row + len(part)] = part.features
        row += len(part)
    label, bits = np.concatenate(labels) if labels else None, np.concatenate(brought) if brought else None
    return Candidates(offsets_of(lengths), items, features, names, ties, label, ranks, bits)

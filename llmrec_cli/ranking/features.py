"""Candidates of users as one table of features: the shape in which every ranker reads its work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, offsets_of
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import MISS

SHARE_DECAY = 0.85
"""Of an event's weight in the share of a group, by each newer event."""


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
    """Name of each feature, `source.kind`."""
    ties: Ints
    """(items,) `tie_order` of the whole catalogue."""
    label: Bools | None = None
    """(rows,) True for the item that came next; None when it is not known."""
    source_ranks: dict[str, Ints] = field(default_factory=dict)
    """Retriever -> (users,) the target's place among the retriever's best, 0 = first; only where targets were given."""
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
        label = None if self.label is None else self.label[rows]
        offsets = offsets_of(lengths)
        return replace(self, offsets=offsets, items=self.items[rows], features=self.features[rows], label=label)

    def has_target(self) -> Bools:
        """(users,) whether the target is among the candidates."""
        found = np.zeros(self.n_users, dtype=bool)
        if self.label is not None:
            found[self.users[self.label]] = True
        return found


def source_of(feature: str) -> str:
    """The source that a feature `source.kind` belongs to; `module:Class.kind` too."""
    return feature.rpartition(".")[0]


def join(parts: list[Candidates]) -> Candidates:
    """The users of all parts, one part after the other. Empties the list as it goes: a table is not held twice."""
    names, sources, ties = parts[0].names, tuple(parts[0].source_ranks), parts[0].ties
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    items = np.concatenate([part.items for part in parts])
    labels = [part.label for part in parts if part.label is not None]
    ranks = {name: np.concatenate([part.source_ranks[name] for part in parts]) for name in sources}
    features = np.empty((len(items), len(names)), dtype=np.float32)
    row = 0
    while parts:
        part = parts.pop(0)
        features[row : row + len(part)] = part.features
        row += len(part)
    offsets = offsets_of(lengths)
    return Candidates(offsets, items, features, names, ties, np.concatenate(labels) if labels else None, ranks)


def places(candidates: Candidates, scores: npt.NDArray[np.floating]) -> Ints:
    """(rows,) the place of each row in its user's list when ordered by score, 0 = first."""
    users = candidates.users
    order = np.lexsort((candidates.ties[candidates.items], -scores, users))
    out = np.empty(len(candidates), dtype=np.int64)
    out[order] = np.arange(len(candidates)) - candidates.offsets[users[order]]
    return out


def candidate_ranks(candidates: Candidates, scores: npt.NDArray[np.floating]) -> Ints:
    """(users,) the place of the labelled row by score; MISS where the target was not retrieved."""
    ranks = np.full(candidates.n_users, MISS, dtype=np.int64)
    if candidates.label is not None:
        ranks[candidates.users[candidates.label]] = places(candidates, scores)[candidates.label]
    return ranks


def repeat_features(sequences: Sequences, rows: Ints, codes: npt.NDArray[np.integer]) -> list[tuple[str, Floats]]:
    """(n,) features of pairs of a history (row number) and an item code: how often it had the item, how long ago.

    The time is counted in events: 1 for the newest, 1/2 for the one before, 0 for never.
    """
    n_items = max(sequences.n_items, 1)
    had, inverse = np.unique(sequences.users * n_items + sequences.codes, return_inverse=True)
    counts = np.bincount(inverse, minlength=len(had))
    recency = np.zeros(len(had))
    np.maximum.at(recency, inverse, 1 / (1 + sequences.ages))
    pairs = rows * n_items + codes
    at = np.minimum(np.searchsorted(had, pairs), max(len(had) - 1, 0))
    there = had[at] == pairs if len(had) else np.zeros(len(pairs), dtype=bool)
    out = []
    for name, values in (("repeat.count", np.log1p(counts)), ("repeat.recency", recency)):
        column = np.zeros(len(pairs), dtype=np.float32)
        column[there] = values[at[there]]
        out.append((name, column))
    return out


def group_shares(sequences: Sequences, groups: Ints, rows: Ints, codes: npt.NDArray[np.integer]) -> Floats:
    """(n,) in [0, 1]: how much of a history (row number), newer events counting more, is of the item's group.

    `groups` (items,) numbers them; where it is below 0 the item has none, and the share is 0.
    """
    there = groups[sequences.codes] >= 0
    weights = np.power(SHARE_DECAY, sequences.ages)
    n_groups = int(groups.max(initial=-1)) + 1
    entries = (weights[there], (sequences.users[there], groups[sequences.codes][there]))
    shares = sp.csr_matrix(entries, shape=(len(sequences), n_groups))
    total = np.bincount(sequences.users, weights=weights, minlength=len(sequences))
    out = np.zeros(len(rows), dtype=np.float32)
    known = np.flatnonzero(groups[codes] >= 0)
    if len(known):
        found = np.asarray(shares[rows[known], groups[codes[known]]]).ravel()
        out[known] = found / np.maximum(total[rows[known]], 1e-12)
    return out


def successors(sequences: Sequences, weights: Sequence[float]) -> sp.csr_matrix:
    """(items, items) sparse float32: how often j came d events after i, times weights[d − 1], summed over d."""
    users, codes = sequences.users, sequences.codes
    rows, columns, values = [], [], []
    for distance, weight in enumerate(weights, start=1):
        together = users[distance:] == users[:-distance]
        rows.append(codes[:-distance][together])
        columns.append(codes[distance:][together])
        values.append(np.full(len(rows[-1]), weight, dtype=np.float32))
    shape = (sequences.n_items, sequences.n_items)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sp.coo_matrix(entries, shape=shape).tocsr()

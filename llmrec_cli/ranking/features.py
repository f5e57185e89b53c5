"""Every feature of a candidate in one table: its name, what it says, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Floats, Ints
from llmrec_cli.data.catalogue import Catalogue, group_numbers
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import Histories, Retriever, Statistics, Supports

Values = npt.NDArray[np.floating]

SHARE_DECAY = 0.85
"""Of an event's weight in the share of a group, by each newer event."""
FAMILIES = {
    "history": "length and popularity of the history",
    "newest": "popularity of the newest event",
    "category": "same category",
    "tag": "same tag",
    "repeat": "had before",
}
"""What is said of features that are of no retriever, by what stands before the dot."""


@dataclass(frozen=True)
class Groups:
    """(items,) numbers of the item's category and of its first tag, below 0 for none."""

    category: Ints
    tag: Ints

    @classmethod
    def of(cls, catalogue: Catalogue) -> Groups:
        first = [tags[0] if tags else "" for tags in catalogue.tags]
        return cls(group_numbers(catalogue.categories), group_numbers(first))


@dataclass(frozen=True)
class Pairs:
    """Candidates of a block of users, as features are computed of them. Arrays are (pairs,)."""

    users: Histories
    rows: Ints
    """The user's row in the block."""
    items: Codes
    retrievers: Mapping[str, Retriever]
    statistics: Mapping[str, Statistics]
    groups: Groups
    repeat: bool
    """Whether items that the user had are candidates."""

    @property
    def sequences(self) -> Sequences:
        return self.users.sequences

    @cached_property
    def negative(self) -> Sequences:
        return self.sequences.negative_items()

    @cached_property
    def last(self) -> Codes:
        """The user's newest event, -1 for none."""
        return self.sequences.last()[self.rows]

    @cached_property
    def previous(self) -> Codes:
        """The event before it, -1 for none."""
        return self.sequences.without_last().last()[self.rows]

    @cached_property
    def popularity(self) -> tuple[Values, Values]:
        """Of all events of the history on average, and of the newest; 0 where there is none."""
        sequences = self.sequences
        events = self.retrievers["popularity"].pairs(self.users, sequences.users, sequences.codes)
        total = np.bincount(sequences.users, weights=events, minlength=len(sequences))
        newest = np.zeros(len(sequences))
        some = np.flatnonzero(sequences.lengths)
        newest[some] = events[sequences.offsets[1:][some] - 1]
        return (total / np.maximum(sequences.lengths, 1))[self.rows], newest[self.rows]

    @cached_property
    def had(self) -> tuple[Values, Values]:
        """log(1 + how often the user had the item), and 1 / (1 + events since then), 0 for never."""
        events = {"row": self.sequences.users, "item": self.sequences.codes, "age": self.sequences.ages}
        had = pd.DataFrame(events).groupby(["row", "item"])["age"].agg(["size", "min"])
        found = pd.DataFrame({"row": self.rows, "item": self.items}).join(had, on=["row", "item"])
        return np.log1p(found["size"].fillna(0).to_numpy()), (1 / (1 + found["min"])).fillna(0).to_numpy()


@dataclass(frozen=True)
class Scores:
    """What one retriever says of the pairs."""

    pairs: Pairs
    retriever: Retriever
    of_user: Statistics

    @cached_property
    def values(self) -> Floats:
        return self.retriever.pairs(self.pairs.users, self.pairs.rows, self.pairs.items)

    @cached_property
    def positive(self) -> Floats:
        return np.clip(self.values, 0, None)


@dataclass(frozen=True)
class OfPair:
    """A feature of the item and the history, whichever retrievers there are."""

    name: str
    meaning: str
    values: Callable[[Pairs], Values]
    there: Callable[[Pairs], bool] = lambda pairs: True


@dataclass(frozen=True)
class OfRetriever:
    """A feature that every retriever has."""

    name: str
    """What stands behind the retriever's name, the dot included."""
    meaning: str
    values: Callable[[Scores], Values]
    there: Callable[[Retriever], bool] = lambda retriever: True


def _supports(retriever: Retriever) -> bool:
    return isinstance(retriever, Supports)


def _same(groups: Ints, events: Codes, items: Codes) -> Values:
    return ((events >= 0) & (groups[events] == groups[items]) & (groups[items] >= 0)).astype(np.float32)


def _support(scores: Scores, events: Codes) -> Values:
    assert isinstance(scores.retriever, Supports)
    there = events >= 0
    strength = np.zeros(len(events), dtype=np.float32)
    strength[there] = scores.retriever.support(events[there], scores.pairs.items[there])
    return np.log(1e-3 + strength)


def _standardised(scores: Scores) -> Values:
    of_user, rows = scores.of_user, scores.pairs.rows
    return np.clip((scores.values - of_user.mean[rows]) / of_user.std[rows], -1e4, 1e4)


Z, RAW, RATIO, LEVEL, LAST, PREVIOUS = ".z", ".raw", ".ratio", ".level", ".last", ".previous"
FEATURES: tuple[OfPair | OfRetriever, ...] = (
    OfRetriever(Z, "the score, standardised over all items for this user", _standardised),
    OfRetriever(
        RAW, "the score as it is, where scores below zero mean something", lambda s: s.values, lambda r: r.signed
    ),
    OfRetriever(
        RATIO,
        "log of the score's share of the user's highest, where no score is below zero",
        lambda s: np.log(1e-3 + s.positive / s.of_user.top[s.pairs.rows]),
        lambda r: not r.signed,
    ),
    OfRetriever(
        LEVEL,
        "log of the score, where no score is below zero",
        lambda s: np.log(1e-4 + s.positive),
        lambda r: not r.signed,
    ),
    OfPair("history.length", "log(1 + events of the user)", lambda p: np.log1p(p.sequences.lengths)[p.rows]),
    OfPair(
        "category.share",
        "how much of the history is of the item's category, newer events counting more",
        lambda p: group_shares(p.sequences, p.groups.category, p.rows, p.items),
    ),
    OfPair(
        "tag.share",
        "how much of the history has the item's first tag, newer events counting more",
        lambda p: group_shares(p.sequences, p.groups.tag, p.rows, p.items),
    ),
    OfPair(
        "category.negative",
        "how much of the user's negative feedback is of the item's category, newer feedback counting more",
        lambda p: group_shares(p.negative, p.groups.category, p.rows, p.items),
        lambda p: p.sequences.negative is not None,
    ),
    OfPair(
        "tag.negative",
        "how much of the user's negative feedback has the item's first tag, newer feedback counting more",
        lambda p: group_shares(p.negative, p.groups.tag, p.rows, p.items),
        lambda p: p.sequences.negative is not None,
    ),
    OfPair(
        "category.last",
        "1 where the newest event has the item's category",
        lambda p: _same(p.groups.category, p.last, p.items),
    ),
    OfPair(
        "tag.last", "1 where the newest event has the item's first tag", lambda p: _same(p.groups.tag, p.last, p.items)
    ),
    OfRetriever(
        LAST,
        "log of how strongly the newest event speaks for the item",
        lambda s: _support(s, s.pairs.last),
        _supports,
    ),
    OfPair(
        "category.previous",
        "1 where the event before the newest has the item's category",
        lambda p: _same(p.groups.category, p.previous, p.items),
    ),
    OfPair(
        "tag.previous",
        "1 where the event before the newest has the item's first tag",
        lambda p: _same(p.groups.tag, p.previous, p.items),
    ),
    OfRetriever(
        PREVIOUS,
        "log of how strongly the event before the newest speaks for the item",
        lambda s: _support(s, s.pairs.previous),
        _supports,
    ),
    OfPair(
        "history.popularity",
        "mean popularity of the user's events",
        lambda p: p.popularity[0],
        lambda p: "popularity" in p.retrievers,
    ),
    OfPair(
        "newest.popularity",
        "popularity of the user's newest event",
        lambda p: p.popularity[1],
        lambda p: "popularity" in p.retrievers,
    ),
    OfPair("repeat.count", "log(1 + how often the user had the item)", lambda p: p.had[0], lambda p: p.repeat),
    OfPair(
        "repeat.recency",
        "1 / (1 + events since the user had the item), 0 for never",
        lambda p: p.had[1],
        lambda p: p.repeat,
    ),
)
"""In the order of the columns; features of retrievers that follow each other stand retriever by retriever."""
MEANINGS = {feature.name: feature.meaning for feature in FEATURES}


def computed(pairs: Pairs) -> tuple[tuple[str, ...], Floats]:
    """The names of the features that there are, and (pairs, features) their finite values."""
    names, columns = zip(*_columns(pairs), strict=True)
    return names, np.stack(columns, axis=1)


def _columns(pairs: Pairs) -> Iterator[tuple[str, Floats]]:
    scores = {name: Scores(pairs, each, pairs.statistics[name]) for name, each in pairs.retrievers.items()}
    for _, block in groupby(FEATURES, type):
        features = list(block)
        of_pair = [f for f in features if isinstance(f, OfPair) and f.there(pairs)]
        yield from ((f.name, f.values(pairs).astype(np.float32)) for f in of_pair)
        for name, each in scores.items():
            there = [f for f in features if isinstance(f, OfRetriever) and f.there(each.retriever)]
            yield from ((name + f.name, f.values(each).astype(np.float32)) for f in there)


def family(feature: str) -> str:
    """The retriever whose feature it is, `module:Class` too; of the others the key of `FAMILIES`."""
    return feature.rpartition(".")[0]


def meaning(feature: str) -> str:
    """A sentence on what the feature of this name says; KeyError where there is none."""
    return MEANINGS.get(feature) or MEANINGS["." + feature.rpartition(".")[2]]


def group_shares(sequences: Sequences, groups: Ints, rows: Ints, items: Codes) -> Floats:
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
    known = np.flatnonzero(groups[items] >= 0)
    if len(known):
        found = np.asarray(shares[rows[known], groups[items[known]]]).ravel()
        out[known] = found / np.maximum(total[rows[known]], 1e-12)
    return out
